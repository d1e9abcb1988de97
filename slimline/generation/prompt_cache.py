"""Keys and values of prompts that were read before, so that a prompt which begins alike is read from where it differs.

A prompt's places are kept in blocks of BLOCK tokens. A block is known by all tokens up to its end, so that prompts with the same beginning
share it (as in Kwon et al. 2023, "Efficient Memory Management for Large Language Model Serving with PagedAttention", arXiv:2309.06180).
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from slimline.generation.disk import opened

BLOCK = 64
LARGEST_BYTES = 512 * 1024**2
ROTATED = "its keys are rotated by the length of the whole prompt"
FORGETS = "its layers forget what is too far back"
"""Why keys and values of one prompt serve no other."""
Block = list[NDArray[Any]]
"""The keys and the values of each layer at BLOCK places: [1, heads, BLOCK, size] each."""


class PromptCache:
    """Blocks in memory, and with `folder` on disk as well; each place holds at most so many bytes, what was used least recently goes.

    `release` is the identity of the model: another one's blocks are never given. On disk it is safe over processes and never pickled.
    """

    def __init__(
        self, release: str, folder: Path | None = None, *, memory_bytes: int = LARGEST_BYTES, disk_bytes: int = 4 * LARGEST_BYTES
    ) -> None:
        self._release, self._most = release, memory_bytes
        self._blocks: OrderedDict[str, Block] = OrderedDict()
        self._disk = None if folder is None else opened(folder, disk_bytes)
        self._lock = threading.Lock()
        self.memory_bytes = 0
        self.asked_tokens = self.found_tokens = 0

    @property
    def keeps(self) -> bool:
        """Whether it can hold anything."""
        return self._most > 0 or self._disk is not None

    def found(self, tokens: Sequence[int]) -> list[Block]:
        """The blocks that a prompt begins with, as many as are there; its last token is never among them, for it has to be read."""
        blocks = []
        for key in self._keys(tokens[:-1]):
            if (block := self._block(key)) is None:
                break
            blocks.append(block)
        self.asked_tokens += len(tokens)
        self.found_tokens += BLOCK * len(blocks)
        return blocks

    def missing(self, tokens: Sequence[int]) -> list[int]:
        """Where the blocks of a prompt start that are not in memory."""
        with self._lock:
            return [BLOCK * number for number, key in enumerate(self._keys(tokens)) if key not in self._blocks]

    def put(self, tokens: Sequence[int], start: int, block: Block) -> None:
        """Keep the keys and values of the places `start` to `start + BLOCK` of a prompt."""
        key = next(key for number, key in enumerate(self._keys(tokens)) if number * BLOCK == start)
        self._keep(key, block)
        if self._disk is not None:
            self._disk.set(key, save({f"{number:05}": np.ascontiguousarray(part) for number, part in enumerate(block)}), retry=True)

    def close(self) -> None:
        """Let go of files and memory."""
        self._blocks.clear()
        self.memory_bytes = 0
        if self._disk is not None:
            self._disk.close()

    @property
    def disk_bytes(self) -> int:
        """What it takes on disk."""
        return 0 if self._disk is None else int(self._disk.volume())

    def _block(self, key: str) -> Block | None:
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        if self._disk is None or (stored := self._disk.get(key, retry=True)) is None:
            return None
        parts = load(stored)
        block = [parts[name] for name in sorted(parts)]
        self._keep(key, block)
        return block

    def _keep(self, key: str, block: Block) -> None:
        with self._lock:
            if key not in self._blocks:
                self.memory_bytes += _bytes(block)
            self._blocks[key] = block
            self._blocks.move_to_end(key)
            while self.memory_bytes > self._most and self._blocks:
                self.memory_bytes -= _bytes(self._blocks.popitem(last=False)[1])

    def _keys(self, tokens: Sequence[int]) -> Iterator[str]:
        """The names of a prompt's whole blocks."""
        digest = hashlib.sha256(self._release.encode())
        for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
            digest.update(np.asarray(tokens[start : start + BLOCK], dtype=np.int64).tobytes())
            yield digest.hexdigest()


def _bytes(block: Block) -> int:
    return sum(part.nbytes for part in block)
