"""In which order a training sees its samples."""

import math
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from slimline.params import Training


def steps_per_epoch(count: int, config: Training) -> int:
    """Whole batches in `count` samples, at least one: a short last one is dropped, since batch norm cannot take a single sample.

    Where the config says how many steps there are in all, an epoch is an equal part of them.
    """
    if config.steps is not None:
        return max(1, math.ceil(config.steps / max(1, config.epochs)))
    return max(1, count // min(config.batch_size, count))


class Order:
    """Whole batches in a random order, epoch by epoch; of a training of so many steps an epoch goes on where the last one ended."""

    def __init__(self, count: int, config: Training, generator: torch.Generator) -> None:
        self.count, self.config, self.generator = count, config, generator
        self._left: Iterator[Tensor] = iter(())

    def epoch(self) -> Iterator[Tensor]:
        """The rows of each batch of the next epoch."""
        if self.config.steps is None:
            return self._through()
        return iter(list(islice(self._endless(), steps_per_epoch(self.count, self.config))))  # drawn before any augmentation is

    def left(self) -> Tensor:
        """The rows that the last pass over the samples has left for the next epoch, int64 [rows]."""
        batches = list(self._left)
        self._left = iter(batches)
        return torch.cat([torch.empty(0, dtype=torch.int64), *batches])

    def go_on_with(self, rows: Tensor) -> None:
        """Take the rows that `left` gave."""
        self._left = iter(torch.split(rows, self._size)) if len(rows) else iter(())

    @property
    def _size(self) -> int:
        return min(self.config.batch_size, self.count)

    def _endless(self) -> Iterator[Tensor]:
        while True:
            yield from self._left
            self._left = self._through()

    def _through(self) -> Iterator[Tensor]:
        order = torch.randperm(self.count, generator=self.generator)
        return iter(torch.split(order[: self.count // self._size * self._size], self._size))
