"""A generator over any net that takes the keys and values of earlier tokens: reads the prompt, then goes on token by token."""

import threading
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from slimline.generation import Generation, OnText, Prompt, Sampling
from slimline.generation.answers import Reader, Writing, require_sampling
from slimline.generation.choice import chosen
from slimline.generation.prompt_cache import BLOCK, Block, PromptCache

Numbers = NDArray[np.int64]
Past = Any
"""The keys and values of all tokens so far, as the net holds them."""


class Net(Protocol):
    """What an engine has to do."""

    unkept: str | None
    """Why keys and values cannot be taken out and put in by place; None where they can."""

    def run(self, tokens: Numbers, mask: Numbers, positions: Numbers, past: Past | None) -> tuple[NDArray[np.float32], Past]:
        """The logits of the last place [N, vocabulary] after tokens [N, T] at `positions` [N, T]; `mask` [N, places] is 0 at fillings."""

    def blocks(self, past: Past, start: int, stop: int) -> Block:
        """The keys and values of some places, copied."""

    def joined(self, blocks: Sequence[Block]) -> Past:
        """Keys and values of blocks that follow each other."""


class Stepwise:
    """Implements slimline.generation.Generator over a Net. One prompt, or one batch, is worked on at a time."""

    takes_many = False

    def __init__(self, net: Net, reader: Reader, cache: PromptCache | None = None) -> None:
        self._net, self._reader, self._lock = net, reader, threading.Lock()
        self._cache = cache if cache is not None and net.unkept is None and cache.keeps else None
        self.context, self.unkept = reader.context, net.unkept

    def tokens(self, text: str) -> tuple[int, ...]:
        """The numbers of a text's tokens."""
        return self._reader.tokens(text)

    def known(self, prompt: Prompt) -> tuple[int, ...]:
        """A prompt's tokens, checked; see slimline.generation.Generator."""
        return self._reader.known(prompt)

    def generate(self, prompt: Prompt, sampling: Sampling = Sampling(), *, on_text: OnText | None = None) -> Generation:  # noqa: B008
        """Go on from a prompt; see slimline.generation.Generator."""
        require_sampling(sampling)
        tokens = self._reader.prompt(prompt)
        with self._lock:
            writing = Writing(self._reader, tokens, sampling, on_text)
            logits, past, cached = self._read(tokens)
            self._go_on([writing], [tokens], logits, past, np.ones((1, len(tokens)), np.int64), sampling)
            return writing.finished(cached)

    def generate_many(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Generation]:  # noqa: B008
        """The same for several as one batch, filled up before the shorter ones. A seed is each prompt's own."""
        require_sampling(sampling)
        tokens = [self._reader.prompt(prompt) for prompt in prompts]
        if len(tokens) < 2:
            return [self.generate(prompt, sampling) for prompt in tokens]
        with self._lock:
            writings = [Writing(self._reader, one, sampling) for one in tokens]
            longest = max(map(len, tokens))
            filled, mask = (np.zeros((len(tokens), longest), np.int64) for _ in range(2))
            for row, one in enumerate(tokens):
                filled[row, longest - len(one) :], mask[row, longest - len(one) :] = one, 1
            logits, past = self._net.run(filled, mask, np.maximum(mask.cumsum(axis=1) - 1, 0), None)
            self._go_on(writings, tokens, logits, past, mask, sampling)
            return [writing.finished(0) for writing in writings]

    def _read(self, tokens: tuple[int, ...]) -> tuple[NDArray[np.float32], Past, int]:
        """Read a prompt from where no earlier one began alike; the logits, keys and values, and how many tokens were there already."""
        blocks = self._cache.found(tokens) if self._cache is not None else []
        known = BLOCK * len(blocks)
        past = self._net.joined(blocks) if blocks else None
        rest = np.asarray([tokens[known:]], np.int64)
        positions = np.arange(known, len(tokens), dtype=np.int64)[None]
        logits, past = self._net.run(rest, np.ones((1, len(tokens)), np.int64), positions, past)
        if self._cache is not None:
            for start in self._cache.missing(tokens):
                self._cache.put(tokens, start, self._net.blocks(past, start, start + BLOCK))
        return logits, past, known

    def _go_on(
        self,
        writings: Sequence[Writing],
        prompts: Sequence[Sequence[int]],
        logits: NDArray[np.float32],
        past: Past,
        mask: Numbers,
        sampling: Sampling,
    ) -> None:
        """Write token by token until all answers have ended."""
        draws = [np.random.default_rng(sampling.seed) for _ in writings]
        lengths = np.array([len(prompt) for prompt in prompts], np.int64)
        while True:
            tokens = [chosen(row, sampling, rows_draws) for row, rows_draws in zip(logits, draws, strict=True)]
            if not any([writing.take(token) for writing, token in zip(writings, tokens, strict=True)]):  # noqa: C419 - all take theirs
                return
            mask = np.pad(mask, ((0, 0), (0, 1)), constant_values=1)
            logits, past = self._net.run(np.array(tokens, np.int64)[:, None], mask, lengths[:, None], past)
            lengths = lengths + 1
