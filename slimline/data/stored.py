"""A split on disk as models see it: rows become inputs and targets when they are asked for, in worker processes where that pays."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from slimline.data.batch import Rows, tensors
from slimline.data.columns import Rows as Columns
from slimline.data.samples import Samples, Split
from slimline.data.table import Table

SMALL_BYTES = 32_000_000
"""Inputs that take no more than this are made once and held: what a split takes in memory is bounded either way."""
LOOKED_AT = 16
"""Samples from which it is told how large they are, and whether they have one shape."""
WORTH_WORKERS = 2_000
"""Fewer rows are read sooner than worker processes start."""
Making = Callable[[Columns], Samples]
"""From rows to inputs and targets."""


@dataclass(frozen=True)
class Stored:
    """A split of any size; implements slimline.data.samples.Split.

    `make` turns rows into samples. `workers` processes read and decode ahead; order and values are the same for any number of them.
    """

    table: Table
    make: Making
    workers: int = 0

    def __len__(self) -> int:
        return len(self.table)

    def batches(self, order: Iterable[Rows]) -> Iterator[Samples]:
        """The samples of each group of rows, group by group."""
        if self.workers == 0:
            return (self.make(self.table.rows(_numbers(rows))) for rows in order)
        groups = [_numbers(rows) for rows in order]
        reading = _Reading(self)
        drawn = torch.Generator()  # the loader draws from it where a training's dropout would draw next
        return iter(DataLoader(reading, sampler=groups, batch_size=None, num_workers=self.workers, generator=drawn))  # type: ignore[arg-type]


class _Reading(Dataset[Samples]):
    """The split as torch's DataLoader asks for it: by groups of rows."""

    def __init__(self, split: Stored) -> None:
        self._split = split
        self._table: Table | None = None

    def __getitem__(self, rows: slice | list[int]) -> Samples:
        if self._table is None:  # each process maps the file itself
            torch.set_num_threads(1)
            self._table = Table(self._split.table.path)
        return self._split.make(self._table.rows(rows))


def held_if_small(split: Stored, small_bytes: int = SMALL_BYTES) -> Split:
    """The split with all its samples made once, where they are small and of one shape; else as it is."""
    some = [split.make(split.table.rows([row])) for row in np.unique(np.linspace(0, len(split) - 1, LOOKED_AT, dtype=int))]
    shapes = {tuple(tuple(value.shape) for value in one.inputs.values()) for one in some}
    largest = max(sum(value.nbytes for part in (one.inputs, one.targets) for value in tensors(part).values()) for one in some)
    if len(shapes) > 1 or largest * len(split) > small_bytes:
        return split
    return split.make(split.table.rows(slice(0, len(split))))


def _numbers(rows: Rows) -> Any:
    return rows if isinstance(rows, slice) else np.asarray(rows).tolist()
