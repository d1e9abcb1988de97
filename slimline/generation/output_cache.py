"""Answers that were given before: exact, and as an option of prompts that mean the same."""

import dataclasses
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slimline.generation import Generation, Sampling
from slimline.generation.disk import opened

Vector = NDArray[np.float32]
LARGEST_BYTES = 256 * 1024**2
LIFETIME_S = 24 * 3600.0
MOST_VECTORS = 4096
"""Prompts that are compared by meaning; the oldest are forgotten first."""


@dataclasses.dataclass(frozen=True)
class Semantic:
    """When two prompts count as the same: the cosine of their vectors, which `embed` gives of a text, is at least `threshold`."""

    embed: Callable[[str], Vector]
    threshold: float


class OutputCache:
    """What a release answered to the same tokens with the same sampling, for as long as `lifetime_s`, in at most `size_bytes` on disk.

    `release` is the identity of the model (`Model.identity`): what another one answered is never given. Only answers that would come
    again are kept: at temperature 0, or with a seed. Safe over threads and processes; `hits` and `misses` count this object's own.
    With `semantic` an answer is also given to a text that is near enough to an earlier one, which can be wrong (stage `cache` measures how
    often).
    """

    def __init__(
        self,
        release: str,
        folder: Path | None = None,
        *,
        size_bytes: int = LARGEST_BYTES,
        lifetime_s: float = LIFETIME_S,
        semantic: Semantic | None = None,
    ) -> None:
        self.hits = self.misses = 0
        self._release, self._lifetime_s, self._semantic = release, lifetime_s, semantic
        self._cache = opened(folder, size_bytes)
        self._vectors: OrderedDict[str, tuple[str, Vector]] = OrderedDict()

    def get(self, tokens: Sequence[int], sampling: Sampling, text: str | None = None) -> Generation | None:
        """The answer, None where there is none; `text` is what a semantic cache compares."""
        found = self._found(tokens, sampling, text) if repeats(sampling) else None
        self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
        return found

    def put(self, tokens: Sequence[int], sampling: Sampling, answer: Generation, text: str | None = None) -> None:
        """Keep an answer, if it would come again."""
        if not repeats(sampling):
            return
        key = self._key(tokens, sampling)
        self._cache.set(key, json.dumps(dataclasses.asdict(answer)), expire=self._lifetime_s, tag=self._release, retry=True)
        if self._semantic is not None and text is not None:
            self._vectors[key] = (self._settings(sampling), _unit(self._semantic.embed(text)))
            while len(self._vectors) > MOST_VECTORS:
                self._vectors.popitem(last=False)

    def clear(self) -> None:
        """Forget what this release answered."""
        self._cache.evict(self._release, retry=True)
        self._vectors.clear()

    def close(self) -> None:
        """Let go of the files."""
        self._cache.close()

    @property
    def size_bytes(self) -> int:
        """What it takes on disk."""
        return int(self._cache.volume())

    def _found(self, tokens: Sequence[int], sampling: Sampling, text: str | None) -> Generation | None:
        stored = self._cache.get(self._key(tokens, sampling), retry=True)
        if stored is None and self._semantic is not None and text is not None and (near := self._nearest(text, sampling)):
            stored = self._cache.get(near, retry=True)
        if stored is None:
            return None
        plain = json.loads(stored)
        return Generation(**{**plain, "tokens": tuple(plain["tokens"])})

    def _nearest(self, text: str, sampling: Sampling) -> str | None:
        assert self._semantic is not None
        settings = self._settings(sampling)
        known = {key: vector for key, (of, vector) in list(self._vectors.items()) if of == settings}
        if not known:
            return None
        cosines = np.stack(list(known.values())) @ _unit(self._semantic.embed(text))
        best = int(cosines.argmax())
        return list(known)[best] if cosines[best] >= self._semantic.threshold else None

    def _key(self, tokens: Sequence[int], sampling: Sampling) -> str:
        numbers = ",".join(str(int(token)) for token in tokens)
        return hashlib.sha256(f"{self._release} {self._settings(sampling)} {numbers}".encode()).hexdigest()

    @staticmethod
    def _settings(sampling: Sampling) -> str:
        return json.dumps(dataclasses.asdict(sampling), sort_keys=True)


def repeats(sampling: Sampling) -> bool:
    """Whether the same prompt gets the same answer again."""
    return sampling.is_greedy or sampling.seed is not None


def _unit(vector: Vector) -> Vector:
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / max(length, 1e-12), dtype=np.float32)
