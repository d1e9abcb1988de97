"""AdaRound leaves weights on their grid, each at one of its two neighbours, and the logits nearer to the float model's."""

import pytest
import torch
from torch import nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.calling import called_by_name, named
from slimline.errors import StageError
from slimline.methods.quantize.adaround import adaround
from slimline.methods.quantize.plan import weighted_layers
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.static import static
from slimline.methods.quantize.weights import derived_grid, levels
from slimline.params import AdaroundParams, StaticParams
from tests.unbalanced import CALIBRATION, data_for, logit_sqnr_db, unbalanced_net

PER_TENSOR = {"source": "teacher", "granularity": "per-tensor"}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return unbalanced_net(20.0)


def rounded(net: nn.Module, **settings: object) -> Quantized:
    config = AdaroundParams.model_validate({"method": "adaround", "iterations": 50, **PER_TENSOR, **settings})
    return adaround(net, config, statistics=collect_statistics(net, named(net, CALIBRATION), 32), data=data_for())


def nearest(net: nn.Module) -> Quantized:
    config = StaticParams(method="static", **PER_TENSOR)
    return static(net, config, statistics=collect_statistics(net, named(net, CALIBRATION), 32), data=data_for())


def test_held_out_logits_are_nearer_than_with_the_nearest_levels(net: nn.Module) -> None:
    made, plain = rounded(net), nearest(net)
    assert logit_sqnr_db(net, made) > logit_sqnr_db(net, plain) + 2
    assert made.plan["layers"] == plain.plan["layers"]
    moved = 0
    for name, layer in weighted_layers(made.model).items():
        entry, float_weight = made.plan["layers"][name], plain.model.get_submodule(name).weight
        before, after = derived_grid(float_weight, entry)[0], derived_grid(layer.weight, entry)[0]
        torch.testing.assert_close(after, before, rtol=1e-6, atol=0)
        on_grid = simulate(made.model, made.plan).get_submodule(name).weight
        torch.testing.assert_close(on_grid, layer.weight.detach(), rtol=1e-6, atol=0)
        distance = (levels(layer.weight, entry).float() - float_weight.detach() / before.view(-1, *[1] * (float_weight.dim() - 1))).abs()
        assert float(distance.max()) < 1 + 1e-3
        moved += int((levels(layer.weight, entry) != levels(float_weight, entry)).sum())
    assert moved > 100


def test_no_iterations_are_static(net: nn.Module) -> None:
    made, plain = rounded(net, iterations=0), nearest(net)
    assert all(torch.equal(value, plain.model.state_dict()[name]) for name, value in made.model.state_dict().items())


def test_pruned_weights_stay_zero() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    model = called_by_name(model, "x")
    with torch.no_grad():
        model[1].weight[torch.rand(16, 64, generator=torch.Generator().manual_seed(1)) < 0.5] = 0.0
    made = rounded(model, granularity="per-channel")
    pruned = model[1].weight == 0
    assert bool((made.model[1].weight[pruned] == 0).all())
    assert not torch.equal(made.model[1].weight, model[1].weight)


def test_without_a_sample_it_is_refused(net: nn.Module) -> None:
    config = AdaroundParams(source="teacher", method="adaround")
    with pytest.raises(StageError, match="need the calibration sample"):
        adaround(net, config, statistics=collect_statistics(net, named(net, CALIBRATION), 32))
