"""HQQ: what its zero points gain on heavy-tailed weights, and why they have to stay fractional."""

import pytest
import torch
from torch import Tensor, nn

from slimline.data.calling import named
from slimline.methods.compile.qdq import explicit
from slimline.methods.quantize.hqq import fit_zero_points, hqq, shrink
from slimline.methods.quantize.simulate import simulate, sqnr_db
from slimline.methods.quantize.weight_only import asymmetric_grid, weight_only
from slimline.params import HqqParams, WeightOnlyParams

ENTRY = {"precision": "int4", "granularity": "per-group"}
P = 0.7


def config(**settings: object) -> HqqParams:
    return HqqParams.model_validate({"source": "teacher", "method": "hqq", **settings})


@pytest.fixture(scope="module")
def layer() -> nn.Sequential:
    """Weights of Student's t with 3 degrees of freedom: a few are very large."""
    generator = torch.Generator().manual_seed(1)
    normal, squares = torch.randn(64, 256, generator=generator), torch.randn(3, 64, 256, generator=generator).square().mean(dim=0)
    linear = nn.Linear(256, 64)
    linear.weight = nn.Parameter(0.03 * normal / squares.sqrt())
    return nn.Sequential(linear)


def error(weight: Tensor, approximation: Tensor, p: float = P) -> float:
    """The mean of |difference|^p."""
    return float((weight - approximation).abs().pow(p).mean())


def after(layer: nn.Module, **settings: object) -> Tensor:
    made = hqq(layer, config(**settings))
    result: Tensor = simulate(made.model, made.plan, made.grids)[0].weight
    return result


def test_the_error_in_its_own_norm_is_below_that_of_rounding_to_nearest(layer: nn.Sequential) -> None:
    weight = layer[0].weight.detach()
    nearest = weight_only(layer, WeightOnlyParams(source="teacher", method="weight_only", symmetric=False))
    by_nearest = simulate(nearest.model, nearest.plan, nearest.grids)[0].weight
    assert error(weight, after(layer)) < 0.96 * error(weight, by_nearest)
    assert sqnr_db(weight, after(layer)) > sqnr_db(weight, by_nearest) + 0.2
    assert error(weight, after(layer)) < 0.98 * error(weight, after(layer, iterations=0))


def test_no_group_gets_worse_with_more_iterations(layer: nn.Sequential) -> None:
    groups = layer[0].weight.detach().reshape(64, 4, 64)
    start = asymmetric_grid(groups, ENTRY, whole_zero_points=False)
    errors = []
    for iterations in (0, 5, 20):
        scale, zero_point = fit_zero_points(groups, start, 15, config(iterations=iterations))
        assert zero_point is not None
        levels = (groups / scale[..., None] + zero_point[..., None]).round().clamp(0, 15)
        errors.append((groups - (levels - zero_point[..., None]) * scale[..., None]).abs().pow(P).mean(dim=-1))
    assert bool((errors[1] <= errors[0] + 1e-7).all())
    assert bool((errors[2] <= errors[1] + 1e-7).all())
    assert float(errors[2].mean()) < float(errors[0].mean())


def test_rounded_zero_points_lose_what_was_gained(layer: nn.Sequential) -> None:
    weight, made = layer[0].weight.detach(), hqq(layer, config())
    nearest = weight_only(layer, WeightOnlyParams(source="teacher", method="weight_only", symmetric=False))
    whole = made.grids | {"0.zero_point": made.grids["0.zero_point"].round().clamp(0, 15)}
    by_whole, by_nearest = (
        error(weight, simulate(layer, plan, grids)[0].weight) for plan, grids in ((made.plan, whole), (nearest.plan, nearest.grids))
    )
    assert by_whole > 0.995 * by_nearest


def test_outliers_are_set_apart_and_the_rest_counts() -> None:
    errors = torch.tensor([0.0, 0.05, -0.1, 0.5, -2.0])
    found = shrink(errors, beta=10.0, p=P)
    assert found[:3].tolist() == [0, 0, 0]
    assert 0.3 < float(found[3]) < 0.5
    assert -2.0 < float(found[4]) < -1.9
    assert shrink(torch.tensor([0.1]), beta=1e6, p=P) == pytest.approx(0.1, abs=1e-5)


def test_grids_are_stored_for_every_planned_layer_and_8_bits_are_nearer(layer: nn.Sequential) -> None:
    made = hqq(layer, config(group_size=128))
    assert {name: tuple(grid.shape) for name, grid in made.grids.items()} == {"0.scale": (64, 2), "0.zero_point": (64, 2)}
    assert made.plan["layers"]["0"]["stored_grid"]
    assert all(grid.dtype is torch.float32 for grid in made.grids.values())
    assert sqnr_db(layer[0].weight.detach(), after(layer, bits=8)) > sqnr_db(layer[0].weight.detach(), after(layer)) + 20


@pytest.mark.parametrize("group_size", [64, 128])
def test_targets_that_dequantize_with_whole_zero_points_get_the_fraction_beside(group_size: int, layer: nn.Sequential) -> None:
    made, inputs = hqq(layer, config(bits=8, group_size=group_size)), torch.randn(8, 256, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = simulate(made.model, made.plan, made.grids)(inputs)
        found = explicit(made.model, made.plan, grids=made.grids, example=named(made.model, inputs[:2]))(inputs)
    assert sqnr_db(expected, found) > 90
    assert sqnr_db(layer(inputs).detach(), found) < 70
