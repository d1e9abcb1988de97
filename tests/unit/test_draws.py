"""The spread of static int8 over draws of the calibration sample."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from slimline.calibration.draws import Draws, other_draws, over_draws
from slimline.data.samples import Samples
from slimline.data.table import Table, write_table
from slimline.methods.quantize.static import static
from slimline.objectives.classification import classification
from slimline.params import CalibrateParams, StaticParams
from tests.method_data import method_data

CONFIG = StaticParams(source="teacher", method="static")
INPUTS = {"x": torch.randn(200, 4, generator=torch.Generator().manual_seed(0))}


def net() -> nn.Module:
    """Tells which of two halves of its inputs is larger."""
    linear = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]))
    return nn.Sequential(linear).eval()


class Called(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = net()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def test_a_draw_that_misses_the_range_shows_and_is_not_chosen_away() -> None:
    model = Called()
    given = method_data(model, INPUTS, model(**INPUTS).argmax(1), objective=classification(("first", "second")))
    made = static(model, CONFIG, statistics=given.collect(model), data=given)
    narrow = {"x": INPUTS["x"] * 1e-3}
    draws = over_draws(model, made, CONFIG, given, iter([INPUTS, narrow]), 50)
    assert draws.figures[0] == draws.figures[1] > 0.95
    assert draws.figures[2] < draws.figures[0] - 0.05
    assert draws.facts["min"] == draws.figures[2]
    assert draws.moves[0] == draws.moves[1] < draws.moves[2]
    assert draws.judged_on == 200


def test_a_shipped_draw_unlike_the_others_is_told() -> None:
    assert not Draws("accuracy", (0.80, 0.95, 0.96, 0.95), (0.80, 0.95, 0.96, 0.95), 100).is_typical
    assert Draws("accuracy", (0.7920, 0.7973, 0.7947, 0.7973, 0.7947), (0.0,) * 5, 375).is_typical, "one or two samples are no news"
    assert Draws("accuracy", (0.95, 0.95, 0.96, 0.94), (0.95, 0.95, 0.96, 0.94), 100).is_typical
    assert Draws("accuracy", (0.9, 0.9, 0.9), (0.9, 0.9, 0.9), 100).deviation == 0


def test_draws_are_seeded_without_repetition_from_both_splits(tmp_path: Path) -> None:
    for name, numbers in (("train", range(60)), ("calibration", range(60, 80))):
        write_table(tmp_path / f"{name}.arrow", pd.DataFrame({"x": np.array(numbers), "label": 0}))
    tables = [Table(tmp_path / f"{name}.arrow") for name in ("train", "calibration")]

    def make(rows) -> Samples:
        values = torch.as_tensor(np.array(rows["x"]))
        return Samples({"x": values}, values)

    def drawn(seed: int) -> list[list[int]]:
        return [batch["x"].tolist() for batch in other_draws(tables, make, CalibrateParams(samples=20, draws=4), seed)]

    draws = drawn(0)
    assert [len(set(one)) for one in draws] == [20, 20, 20]
    assert len({tuple(one) for one in draws}) == 3
    assert min(min(one) for one in draws) < 60 <= max(max(one) for one in draws)
    assert draws == drawn(0) != drawn(1)
