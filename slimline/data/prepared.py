"""Read the splits that the data stage wrote under data/prepared/."""

import os
from pathlib import Path

from slimline.data.batch import Batch
from slimline.data.samples import Split, head
from slimline.data.stored import WORTH_WORKERS, Making, Stored, held_if_small
from slimline.data.table import Table

PREPARED = Path("data/prepared")
ENDING = ".arrow"


def load_table(split: str, folder: Path = PREPARED) -> Table:
    """One split as typed columns.

    Raises:
        DataError: the split has not been prepared, or its file is damaged.
    """
    return Table(folder / f"{split}{ENDING}")


def load_split(make: Making, split: str, folder: Path = PREPARED) -> Split:
    """One split as inputs and targets, by a workload's `samples`; a large one is read ahead by worker processes."""
    table = load_table(split, folder)
    workers = min(2, os.cpu_count() or 1) if len(table) >= WORTH_WORKERS else 0
    return held_if_small(Stored(table, make, workers))


def load_batch(make: Making, split: str, samples: int, folder: Path = PREPARED) -> Batch:
    """The first samples of a split, in memory."""
    return head(load_split(make, split, folder), samples).inputs
