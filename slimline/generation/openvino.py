"""OpenVINO as an engine: openvino-genai's continuous batching, with its own paged cache that shares the beginnings of prompts."""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimline.artifact.border import told_as
from slimline.artifact.generating import GenerationFacts
from slimline.errors import ArtifactError, MachineError
from slimline.generation import Generation, OnText, Prompt, Sampling
from slimline.generation.answers import Reader, Writing, require_sampling
from slimline.generation.prompt_cache import ROTATED
from slimline.methods.compile.signal_stack import kept_signal_stack
from slimline.methods.compile.telemetry import switch_off_telemetry

switch_off_telemetry()
import openvino  # noqa: E402
import openvino_genai  # noqa: E402

BLOCK = 32
"""Tokens of a block of the engine's cache on a CPU."""
CACHE_BYTES = 512 * 1024**2
"""The most that keys and values take, where one prompt of the whole context fits in it."""


class OpenVINOGenerator:
    """Implements slimline.generation.Generator. Calls from several threads are worked on together, as one changing batch."""

    takes_many = True

    def __init__(
        self,
        folder: Path,
        facts: GenerationFacts,
        reader: Reader,
        settings: Mapping[str, str],
        *,
        prefix_caching: bool = True,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.unkept = ROTATED if facts.rotates_by_length else None
        prefix_caching = prefix_caching and self.unkept is None
        blocks = max(-(-facts.context // BLOCK) + 1, cache_bytes // (BLOCK * facts.token_bytes))
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.enable_prefix_caching, scheduler.num_kv_blocks = prefix_caching, blocks
        scheduler.max_num_batched_tokens = max(256, min(facts.context, 2048))
        with kept_signal_stack(), told_as(lambda reason: ArtifactError(f"{folder}: openvino-genai cannot load its graph: {reason}")):
            self._pipeline = openvino_genai.ContinuousBatchingPipeline(folder, scheduler, "CPU", dict(settings))
        self._folder, self._reader, self._lock, self._next = folder, reader, threading.Lock(), 0
        self._seen = _Seen(blocks if prefix_caching else 0)
        self.context = reader.context

    def tokens(self, text: str) -> tuple[int, ...]:
        """The numbers of a text's tokens."""
        return self._reader.tokens(text)

    def known(self, prompt: Prompt) -> tuple[int, ...]:
        """A prompt's tokens, checked; see slimline.generation.Generator."""
        return self._reader.known(prompt)

    def generate(self, prompt: Prompt, sampling: Sampling = Sampling(), *, on_text: OnText | None = None) -> Generation:  # noqa: B008
        """Go on from a prompt; see slimline.generation.Generator."""
        require_sampling(sampling)
        return self._answered([self._reader.prompt(prompt)], sampling, on_text)[0]

    def generate_many(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Generation]:  # noqa: B008
        """The same for several, which the engine works on together."""
        require_sampling(sampling)
        return self._answered([self._reader.prompt(prompt) for prompt in prompts], sampling, None)

    def _answered(self, prompts: Sequence[tuple[int, ...]], sampling: Sampling, on_text: OnText | None) -> list[Generation]:
        writings = [Writing(self._reader, tokens, sampling, on_text) for tokens in prompts]
        with self._lock, told_as(lambda reason: ArtifactError(f"{self._folder}: does not generate: {reason}")):
            cached = [self._seen.known(tokens) for tokens in prompts]
            handles = [self._request(tokens, sampling) for tokens in prompts]
        try:
            self._write(dict(enumerate(handles)), writings, prompts)
        finally:
            for handle in handles:
                handle.stop()
            self._step()  # lets go of what was stopped
        return [writing.finished(known) for writing, known in zip(writings, cached, strict=True)]

    def _write(self, going: dict[int, Any], writings: Sequence[Writing], prompts: Sequence[tuple[int, ...]]) -> None:
        """Write all answers down until they have ended; `going` are their handles by row."""
        while going:
            self._step()
            for row, handle in list(going.items()):
                if not _written(handle, writings[row]):
                    handle.stop()
                    del going[row]
                elif handle.get_status() == openvino_genai.GenerationStatus.IGNORED:
                    raise MachineError(f"{self._folder}: the cache has no room for {len(prompts[row]):,} tokens; ask for fewer at once")
                elif handle.get_status() != openvino_genai.GenerationStatus.RUNNING and not handle.can_read():
                    del going[row]

    def _request(self, tokens: tuple[int, ...], sampling: Sampling) -> Any:
        self._next += 1
        config = self._config(self._reader.room(tokens, sampling), sampling)
        return self._pipeline.add_request(self._next, openvino.Tensor(np.array([tokens], np.int64)), config)

    def _step(self) -> None:
        """One more token for everybody, whoever asked for it."""
        with self._lock, told_as(lambda reason: ArtifactError(f"{self._folder}: does not generate: {reason}")):
            if self._pipeline.has_non_finished_requests():
                self._pipeline.step()

    def _config(self, room: int, sampling: Sampling) -> Any:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens, config.apply_chat_template = room, False
        ends = self._reader.windows.ends
        config.set_eos_token_id(ends[0] if ends else 0)
        config.ignore_eos = not ends
        config.stop_token_ids = set(ends) or {0}
        if not sampling.is_greedy:
            config.do_sample, config.temperature, config.top_p = True, sampling.temperature, sampling.top_p
            config.rng_seed = secrets.randbits(31) if sampling.seed is None else sampling.seed
        return config


class _Seen:
    """Which beginnings of prompts the engine holds, which it does not tell: as many blocks as it has, least recently used out first."""

    def __init__(self, most: int) -> None:
        self._most, self._blocks = most, OrderedDict[bytes, None]()

    def known(self, tokens: Sequence[int]) -> int:
        """How many tokens of a prompt were read before; from now on all are."""
        digest, known, unbroken = hashlib.sha256(), 0, True
        for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
            digest.update(np.asarray(tokens[start : start + BLOCK], np.int64).tobytes())
            key = digest.digest()
            unbroken = unbroken and key in self._blocks
            known += BLOCK * unbroken
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)
        return min(known, len(tokens) - 1)


def _written(handle: Any, writing: Writing) -> bool:
    """Write down what has come; whether the answer goes on."""
    while handle.can_read():
        for output in handle.read().values():
            for token in output.generated_ids:
                if not writing.take(int(token)):
                    return False
    return True
