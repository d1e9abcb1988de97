"""A split on disk gives the same samples whether it is held, read, or read by other processes."""

import numpy as np
import pytest
import torch

from slimline.data.columns import Rows
from slimline.data.samples import Samples, Split, head, in_order
from slimline.data.stored import Stored, held_if_small
from slimline.data.table import Table, write_table


def make(rows: Rows) -> Samples:
    return Samples({"x": torch.from_numpy(rows["pixels"]), "size": torch.from_numpy(rows["size"])}, torch.from_numpy(rows["label"]))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    draw, path = np.random.default_rng(0), tmp_path_factory.mktemp("split") / "train.arrow"
    write_table(path, ({"pixels": draw.random(6).astype("float32"), "size": row, "label": row % 4} for row in range(1234)))
    return Table(path)


def seen(split: Split, order: list[torch.Tensor]) -> list[tuple[list[float], list[int]]]:
    return [(batch.inputs["x"].flatten().tolist(), batch.targets.tolist()) for batch in split.batches(order)]


def test_order_and_values_are_the_same_for_any_number_of_workers(table: Table) -> None:
    order = list(torch.split(torch.randperm(1234, generator=torch.Generator().manual_seed(3)), 64))
    held = held_if_small(Stored(table, make))
    assert isinstance(held, Samples)
    expected = seen(held, order)
    for workers in (0, 1, 2):
        assert seen(Stored(table, make, workers), order) == expected


def test_a_large_split_and_one_of_many_shapes_stay_on_disk(table: Table) -> None:
    assert isinstance(held_if_small(Stored(table, make), small_bytes=1000), Stored)

    def ragged(rows: Rows) -> Samples:
        longest = int(rows["size"].max()) % 5 + 1
        return Samples({"x": torch.zeros(len(rows["size"]), longest)}, torch.from_numpy(rows["label"]))

    assert isinstance(held_if_small(Stored(table, ragged)), Stored)


def test_in_order_and_the_first(table: Table) -> None:
    split = Stored(table, make)
    assert [len(batch) for batch in in_order(split, 500)] == [500, 500, 234]
    assert head(split, 3).inputs["size"].tolist() == [0, 1, 2]
    assert len(head(split, 0)) == 0
    assert len(head(split, 5000)) == 1234
