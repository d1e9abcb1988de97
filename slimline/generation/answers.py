"""An answer while it is written: what is asked is checked, tokens become text piece by piece, and the end is seen."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from slimline.data.windows import Windows
from slimline.errors import InputError
from slimline.generation import Generation, OnText, Prompt, Sampling

INCOMPLETE = "\ufffd"
"""What a decoder makes of the first bytes of a character."""


@dataclass(frozen=True)
class Reader:
    """What a model knows of tokens: the tokenizer, how many tokens there are, and the most of prompt and answer together."""

    windows: Windows
    vocabulary: int
    context: int

    def tokens(self, text: str) -> tuple[int, ...]:
        """The numbers of a text's tokens."""
        return self.windows.tokens(text)

    def known(self, prompt: Prompt) -> tuple[int, ...]:
        """A prompt's tokens, of any number.

        Raises:
            InputError: it is empty, or has tokens that the model does not know.
        """
        if not isinstance(prompt, str) and not all(isinstance(token, int | np.integer) for token in prompt):
            raise InputError("prompt: give a text, or the whole numbers of its tokens")
        tokens = self.tokens(prompt) if isinstance(prompt, str) else tuple(int(token) for token in prompt)
        if not tokens:
            raise InputError("prompt: is empty; a language model goes on from at least one token")
        if unknown := [token for token in tokens if not 0 <= token < self.vocabulary]:
            raise InputError(f"prompt: token {unknown[0]} is none of the model's {self.vocabulary:,} (0 to {self.vocabulary - 1})")
        return tokens

    def prompt(self, prompt: Prompt) -> tuple[int, ...]:
        """A prompt's tokens.

        Raises:
            InputError: it is empty, has tokens that the model does not know, or leaves no room for an answer.
        """
        tokens = self.known(prompt)
        if len(tokens) >= self.context:
            raise InputError(f"prompt: has {len(tokens):,} tokens; the model takes {self.context:,}, at least one of them for the answer")
        return tokens

    def room(self, tokens: Sequence[int], sampling: Sampling) -> int:
        """The most tokens that an answer to these can have."""
        return min(sampling.max_new_tokens, self.context - len(tokens))


def require_sampling(sampling: Sampling) -> None:
    """Hold the settings to what can be.

    Raises:
        InputError: one cannot; all are told.
    """
    wrong = []
    if sampling.max_new_tokens < 1:
        wrong.append(f"max_new_tokens is {sampling.max_new_tokens}, must be at least 1")
    if not 0 <= sampling.temperature <= 100:
        wrong.append(f"temperature is {sampling.temperature}, must be 0 to 100")
    if not 0 < sampling.top_p <= 1:
        wrong.append(f"top_p is {sampling.top_p}, must be above 0 and at most 1")
    if sampling.seed is not None and not 0 <= sampling.seed < 2**63:
        wrong.append(f"seed is {sampling.seed}, must be 0 to 2^63 - 1")
    if not all(sampling.stop):
        wrong.append("stop holds an empty text")
    if wrong:
        raise InputError(f"sampling: {'; '.join(wrong)}")


class Writing:
    """One answer that is being written."""

    def __init__(self, reader: Reader, prompt: Sequence[int], sampling: Sampling, on_text: OnText | None = None) -> None:
        self._decode: Callable[[Sequence[int]], str] = reader.windows.decoded
        self._ends, self._stop, self._on_text = frozenset(reader.windows.ends), sampling.stop, on_text
        self._room, self._prompt_tokens = reader.room(prompt, sampling), len(prompt)
        self._tokens: list[int] = []
        self._text, self._told = "", 0
        self._head, self._whole = ("", 0), ("", 0)
        """Texts, and how many tokens they are: what is no longer decoded again, and what last ended with a whole character."""
        self._started, self._first = _clocks(), (0.0, 0.0)
        self.finish_reason: Literal["stop", "length"] | None = None
        """Why it ended; None as long as it goes on."""

    def take(self, token: int) -> bool:
        """The next token; whether the answer goes on after it."""
        if self.finish_reason is not None:
            return False
        if not any(self._first):
            self._first = self._passed()
        if token in self._ends:
            self.finish_reason = "stop"
        else:
            self._tokens.append(token)
            self._text = self._read()
            self._see_stop()
        if self.finish_reason is None and len(self._tokens) >= self._room:
            self.finish_reason = "length"
        self._tell()
        return self.finish_reason is None

    def finished(self, cached_tokens: int) -> Generation:
        """The whole answer."""
        seconds, cpu_seconds = self._passed()
        if self.finish_reason is None:  # the engine has ended it, and told no token for that
            self.finish_reason = "stop"
            self._tell()
        first_ms, first_cpu_ms = (1000 * passed_s for passed_s in self._first)
        return Generation(
            text=self._text,
            tokens=tuple(self._tokens),
            finish_reason=self.finish_reason,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=cached_tokens,
            first_token_ms=first_ms,
            seconds=seconds,
            first_token_cpu_ms=first_cpu_ms,
            cpu_seconds=cpu_seconds,
        )

    def _passed(self) -> tuple[float, float]:
        """Seconds since the answer was begun, on the wall and of this process's CPU time."""
        wall_s, cpu_s = (now - before for now, before in zip(_clocks(), self._started, strict=True))
        return wall_s, cpu_s

    def _read(self) -> str:
        """The text so far. It only grows: a decoder that takes whole characters back for half a one behind them starts anew there."""
        text = self._decoded()
        if not text.startswith(self._whole[0]):
            self._head = self._whole
            text = self._decoded()
        if not text.endswith(INCOMPLETE):
            self._whole = text, len(self._tokens)
        return text

    def _decoded(self) -> str:
        text, count = self._head
        return text + self._decode(self._tokens[count:])

    def _see_stop(self) -> None:
        places = [place for stop in self._stop if (place := self._text.find(stop)) >= 0]
        if places:
            self._text, self.finish_reason = self._text[: min(places)], "stop"

    def _tell(self) -> None:
        """Give on what no later token can change."""
        certain = len(self._text) if self.finish_reason else self._certain()
        if self._on_text is None or certain <= self._told:
            return
        piece, self._told = self._text[self._told : certain], certain
        if self._on_text(piece) and self.finish_reason is None:
            self.finish_reason = "stop"

    def _certain(self) -> int:
        """How long the text is in whole characters, less the last ones that may be the beginning of a text that ends the answer."""
        text = self._text.rstrip(INCOMPLETE)
        held = (length for stop in self._stop for length in range(1, len(stop)) if text.endswith(stop[:length]))
        return len(text) - max(held, default=0)


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
