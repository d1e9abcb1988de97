"""A text as numbers, by the tokenizer of a Hugging Face directory: data in a release, read by the package tokenizers alone."""

import functools
import json
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from slimline.artifact.border import told_as
from slimline.artifact.signature import IDS, MASK
from slimline.data.columns import Rows
from slimline.errors import ArtifactError, MachineError


class Tokens(BaseModel):
    """A text -> `input_ids`, `attention_mask` and, where `inputs` names it, `token_type_ids`: int64 [N, tokens].

    `tokenizer` is what tokenizer.json holds (https://huggingface.co/docs/tokenizers); of a longer text the first `longest` tokens are
    read, special ones included; the shorter ones are filled up with `pad_id`, behind them or before them (`side`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["tokens"] = "tokens"
    column: str
    tokenizer: dict[str, Any]
    inputs: tuple[Literal["input_ids", "attention_mask", "token_type_ids"], ...]
    longest: int = Field(ge=2, le=1_000_000)
    pad_id: int = Field(ge=0)
    side: Literal["right", "left"] = "right"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.column,)

    @functools.cached_property
    def reader(self) -> Any:
        """The tokenizer.

        Raises:
            MachineError: the package tokenizers is not installed.
            ArtifactError: `tokenizer` is none.
        """
        found = reader_of(self.tokenizer)
        found.enable_truncation(max_length=self.longest)
        found.enable_padding(direction=self.side, pad_id=self.pad_id, length=None)
        return found

    def __call__(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """The inputs of some rows, filled up to the longest of them, and to 2."""
        read = self.reader.encode_batch([text if isinstance(text, str) else "" for text in rows[self.column]])
        given = {IDS: "ids", MASK: "attention_mask", "token_type_ids": "type_ids"}
        found = {name: np.array([getattr(one, given[name]) for one in read], dtype=np.int64).reshape(len(read), -1) for name in self.inputs}
        return {name: self._widened(values, self.pad_id if name == IDS else 0) for name, values in found.items()}

    def _widened(self, values: NDArray[np.int64], fill: int) -> NDArray[np.int64]:
        lacking = max(0, 2 - values.shape[1])
        return np.pad(values, ((0, 0), (0, lacking) if self.side == "right" else (lacking, 0)), constant_values=fill)


def reader_of(tokenizer: dict[str, Any]) -> Any:
    """The tokenizer that tokenizer.json describes.

    Raises:
        MachineError: the package tokenizers is not installed.
        ArtifactError: it describes none.
    """
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise MachineError("texts are read by the package tokenizers, which is not installed; pip install tokenizers") from None
    with told_as(lambda reason: ArtifactError(f"preprocessing: tokenizer: {reason}; build the artifact again")):
        return Tokenizer.from_str(json.dumps(tokenizer))


def added_by(reader: Any) -> tuple[list[int], list[int]]:
    """The tokens that a tokenizer puts before a text, and behind it; none where it has no token of an "a"."""
    read = reader.encode("a")
    own = [place for place, is_special in enumerate(read.special_tokens_mask) if not is_special]
    return (read.ids[: own[0]], read.ids[own[-1] + 1 :]) if own else ([], [])
