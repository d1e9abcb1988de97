"""Samples with their targets: a few in memory, or a split of any size that is read batch by batch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch

from slimline.data.batch import Batch, Rows, Tensors, count, moved, take


@dataclass(frozen=True)
class Samples:
    """Inputs of N samples and what the model should give for them, in memory; implements `Split`.

    `guidance` is what a teacher gives for them, where it was asked beforehand.
    """

    inputs: Batch
    targets: Tensors
    guidance: Tensors | None = None

    def __len__(self) -> int:
        return count(self.inputs)

    def take(self, rows: Rows) -> "Samples":
        """The samples of these rows."""
        return Samples(take(self.inputs, rows), take(self.targets, rows), None if self.guidance is None else take(self.guidance, rows))

    def on(self, device: torch.device) -> "Samples":
        """The same on a device."""
        return Samples(
            moved(self.inputs, device), moved(self.targets, device), None if self.guidance is None else moved(self.guidance, device)
        )

    def batches(self, order: Iterable[Rows]) -> Iterator["Samples"]:
        """The samples of each group of rows, group by group."""
        return map(self.take, order)


class Split(Protocol):
    """Samples that are read as they are asked for, so that a split of any size fits in memory."""

    def __len__(self) -> int:
        """How many samples there are."""

    def batches(self, order: Iterable[Rows]) -> Iterator[Samples]:
        """The samples of each group of rows, group by group, in memory one after another."""


def in_order(split: Split, size: int) -> Iterator[Samples]:
    """All samples of a split in order, so many at a time; the last time what is left."""
    return split.batches(slice(start, min(start + size, len(split))) for start in range(0, len(split), size))


def head(split: Split, samples: int) -> Samples:
    """The first samples of a split, at most so many, in memory; none of them for 0."""
    found = next(iter(split.batches([slice(0, max(1, min(samples, len(split))))])))
    return found.take(slice(0, samples))
