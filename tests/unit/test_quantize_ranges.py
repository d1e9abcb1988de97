"""Observers: which range they choose, and that zero is always exact."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from slimline.calibration.statistics import LayerStatistics, collect_statistics
from slimline.methods.quantize.ranges import aligned_range, entropy_threshold, input_range, moving_average
from slimline.methods.quantize.simulate import fake_quantize, sqnr_db
from slimline.methods.quantize.weights import derived_grid


def record(values: Tensor) -> LayerStatistics:
    return collect_statistics(nn.Sequential(nn.Linear(values.shape[1], 2)), {"input": values}, 64).layers["0"]


def normal(count: int = 4000, *, seed: int = 0) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def test_minmax_takes_every_value() -> None:
    values = normal()
    low, high = input_range(record(values), "minmax", 99.99)
    assert low <= float(values.min())
    assert high >= float(values.max())
    assert high - low < float(values.max() - values.min()) * 256 / 255 + 1e-6


def test_percentile_leaves_outliers_out_and_keeps_the_rest() -> None:
    values = torch.cat([normal(), torch.full((1, 4), 100.0)])
    low, high = input_range(record(values), "percentile", 99.9)
    assert high < 10
    assert low > -10
    inside = ((values >= low) & (values <= high)).float().mean()
    assert inside > 0.99


def test_entropy_clips_a_lonely_outlier_and_is_better_for_it() -> None:
    values = torch.cat([normal(), torch.full((1, 4), 60.0)])
    chosen, whole = (input_range(record(values), observer, 99.99) for observer in ("entropy", "minmax"))
    assert chosen[1] < whole[1] / 3
    assert chosen[1] > 2.5, "most of a normal distribution has to stay"
    usual = values[:-1]
    assert sqnr_db(usual, fake_quantize(usual, *chosen)) > sqnr_db(usual, fake_quantize(usual, *whole)) + 6


def test_entropy_of_a_relu_output_is_not_fooled_by_its_zeros() -> None:
    values = normal().relu()
    threshold = entropy_threshold(record(values))
    assert float(values.quantile(0.99)) < threshold <= float(values.max()) + 1e-6
    assert input_range(record(values), "entropy", 99.99)[0] == 0


@given(st.floats(-1e3, 0, allow_subnormal=False), st.floats(0, 1e3, allow_subnormal=False))
def test_zero_is_a_level_and_nothing_but_a_sliver_is_lost(low: float, high: float) -> None:
    if high - low < 1e-6:
        return
    new_low, new_high = aligned_range(low, high)
    scale = (new_high - new_low) / 255
    assert abs(-new_low / scale - round(-new_low / scale)) < 1e-6
    assert new_low <= low + scale * 0.51
    assert new_high >= high - scale * 0.51
    assert new_high - new_low <= (high - low) * 1.51


@pytest.mark.parametrize("shape", [(5, 7), (6, 3, 3, 3), (4, 2, 5)])
def test_a_derived_grid_puts_each_channels_largest_weight_at_127(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    weight[0] = 0
    scale, zero_point = derived_grid(weight, {"precision": "int8", "granularity": "per-channel", "group_size": None})
    assert zero_point is None
    assert scale.shape == (shape[0], 1)
    levels = (weight.flatten(1) / scale).abs().amax(dim=1)
    assert torch.allclose(levels[1:], torch.full_like(levels[1:], 127.0))
    assert levels[0] == 0


def test_moving_average_follows_the_batches_and_forgives_one_outlier() -> None:
    values = normal(640)
    values[100, 0] = 50.0
    seen = record(values)
    low, high = input_range(seen, "moving_average", 99.99)
    assert float(seen.batch_maximums.min()) < high < 12 < input_range(seen, "minmax", 99.99)[1]
    assert low < 0
    assert moving_average(torch.tensor([3.0, 3.0, 3.0])) == pytest.approx(3.0)
    assert moving_average(torch.tensor([0.0, 1.0])) == pytest.approx(1 / 1.9)


def mean_error(values: Tensor, chosen: tuple[float, float]) -> float:
    return float((fake_quantize(values, *chosen) - values).square().mean())


@pytest.mark.parametrize("shape", ["normal", "relu", "heavy"])
def test_mse_has_the_least_error_of_all_shares_of_the_range(shape: str) -> None:
    values = {"normal": normal(), "relu": normal().relu(), "heavy": normal() ** 3}[shape]
    seen = record(values)
    found = mean_error(values, input_range(seen, "mse", 99.99))
    tried = [mean_error(values, aligned_range(seen.minimum * share / 20, seen.maximum * share / 20)) for share in range(4, 21)]
    assert found <= min(tried) * 1.02


def test_mse_clips_where_that_costs_less_than_it_saves() -> None:
    values = normal(100_000).square().mul(normal(100_000, seed=1).sign())
    clipped, whole = (input_range(record(values), observer, 99.99) for observer in ("mse", "minmax"))
    assert clipped[1] < 0.9 * whole[1]
    assert mean_error(values, clipped) < 0.9 * mean_error(values, whole)


@pytest.mark.parametrize("observer", ["minmax", "moving_average", "percentile", "mse", "entropy"])
def test_symmetric_puts_zero_on_level_128(observer: str) -> None:
    low, high = input_range(record(normal() + 0.5), observer, 99.9, symmetric=True)
    assert low == pytest.approx(-high * 128 / 127)
    assert input_range(record(normal() + 0.5), observer, 99.9)[0] > low
