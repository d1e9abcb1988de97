"""Texts as windows of tokens, for a model that tells the next one: data in a release, read by the package tokenizers alone."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from slimline.artifact.signature import IDS, MASK
from slimline.data.columns import Rows
from slimline.data.tokens import added_by, reader_of
from slimline.objectives.readings import IGNORED

SHOWN_TOKENS = 24
TOKENS, LABEL = "tokens", "label"
"""The columns of a window: its tokens, and [how many of the last are asked for, their bytes, the document]."""


@dataclass(frozen=True)
class Window:
    """Some tokens of a document in a row; the last `asked` of them are to be told, which are so many bytes of its text."""

    tokens: NDArray[np.int32]
    asked: int
    size_bytes: int


class Windows(BaseModel):
    """A window of tokens, or a text -> `input_ids` and `attention_mask`, int64 [N, tokens].

    `tokenizer` is what tokenizer.json holds (https://huggingface.co/docs/tokenizers). Documents are cut into windows of `window` tokens;
    `longest` is the most that the net takes, prompt and answer together. `ends` are the tokens that end an answer, `chat_template` the
    Jinja template that makes a prompt of a conversation, where there is one, and `bos_token` and `eos_token` what it calls so. What a
    tokenizer adds behind a text is left out everywhere: texts are cut, and gone on with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["windows"] = "windows"
    column: str = "text"
    tokenizer: dict[str, Any]
    window: int = Field(ge=2, le=1_000_000)
    longest: int = Field(ge=2, le=10_000_000)
    pad_id: int = Field(ge=0)
    ends: tuple[int, ...] = ()
    chat_template: str | None = None
    bos_token: str | None = None
    eos_token: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of raw samples that it reads."""
        return (self.column,)

    @property
    def inputs(self) -> tuple[str, str]:
        """The names of the inputs that it gives."""
        return IDS, MASK

    @functools.cached_property
    def reader(self) -> Any:
        """The tokenizer; texts are not cut.

        Raises:
            MachineError: the package tokenizers is not installed.
            ArtifactError: `tokenizer` is none.
        """
        return reader_of(self.tokenizer)

    def __call__(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """The inputs of some rows, filled up behind: windows to `window`; texts, cut to as many, to the longest of them."""
        if TOKENS in rows:
            tokens, least = list(rows[TOKENS]), self.window
        else:
            read = self.reader.encode_batch([text if isinstance(text, str) else "" for text in rows[self.column]])
            tokens, least = [np.asarray(self._goes_on(one.ids)[: self.window], dtype=np.int64) for one in read], 2
        there = [np.ones(len(one), dtype=np.int64) for one in tokens]
        return {IDS: filled(tokens, self.pad_id, least), MASK: filled(there, 0, least)}

    @property
    def varies(self) -> dict[str, dict[str, tuple[int, int]]]:
        """The axes that differ from sample to sample, and their bounds: texts have any length that the net takes."""
        return {name: {"0": (2, self.longest)} for name in self.inputs}

    def targets(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """What is asked of windows: `tokens` [N, tokens], the one that follows each place or IGNORED; `bytes` and `document` [N]."""
        asked, sizes, documents = np.asarray(rows[LABEL], dtype=np.int64).T
        following = filled(
            [_following(tokens, int(count)) for tokens, count in zip(rows[TOKENS], asked, strict=True)], IGNORED, self.window
        )
        return {"tokens": following, "bytes": sizes, "document": documents}

    def cut(self, text: str) -> Iterator[Window]:
        """A document's windows: each of its tokens but the first is asked for once, and all windows are full where it is long enough.

        The first token of a window is the last of the one before; the last window reaches back, so that it is full as well. A character
        whose bytes are several tokens counts in the window that has the first of them.
        """
        read = self.reader.encode(text)
        tokens = np.asarray(self._goes_on(read.ids), dtype=np.int32)
        told, known = 1, read.offsets[0][1] if len(tokens) else 0
        while told < len(tokens):
            end = min(told - 1 + self.window, len(tokens))
            place = max(known, read.offsets[end - 1][1])
            yield Window(tokens[max(0, end - self.window) : end], end - told, len(text[known:place].encode("utf-8", "surrogatepass")))
            told, known = end, place

    def tokens(self, text: str) -> tuple[int, ...]:
        """The numbers of a text's tokens, with what the tokenizer puts before it."""
        return tuple(self._goes_on(self.reader.encode(text).ids))

    def _goes_on(self, ids: list[int]) -> list[int]:
        """A text's tokens without those that the tokenizer puts behind it."""
        return ids[: len(ids) - self.added[1]]

    @functools.cached_property
    def added(self) -> tuple[int, int]:
        """How many special tokens the tokenizer puts before a text, and behind it."""
        before, behind = added_by(self.reader)
        return len(before), len(behind)

    def shown(self, tokens: Any) -> str:
        """The text of the first tokens of a window, or of a model's answer to one, on one line; IGNORED ones are left out."""
        told = [int(token) for token in np.asarray(tokens).reshape(-1) if token != IGNORED]
        return f"{' '.join(self.decoded(told[:SHOWN_TOKENS]).split())}{' …' if len(told) > SHOWN_TOKENS else ''}"

    def decoded(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        return str(self.reader.decode([int(token) for token in tokens]))


def filled(rows: Sequence[NDArray[Any]], fill: int, least: int) -> NDArray[np.int64]:
    """Rows of numbers as one array, filled up behind to the longest of them, and to `least`."""
    found = np.full((len(rows), max(least, *map(len, rows))), fill, dtype=np.int64)
    for row, values in zip(found, rows, strict=True):
        row[: len(values)] = values
    return found


def _following(tokens: NDArray[Any], asked: int) -> NDArray[np.int64]:
    """At each place the token after it, of the last `asked` tokens; IGNORED at all others."""
    found = np.full(len(tokens), IGNORED, dtype=np.int64)
    found[len(tokens) - 1 - asked : len(tokens) - 1] = tokens[len(tokens) - asked :]
    return found
