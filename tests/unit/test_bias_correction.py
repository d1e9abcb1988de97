"""Bias correction puts each channel's mean output back where it was, and the logits nearer to it."""

import copy
import functools

import pytest
import torch
from torch import Tensor, nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.calling import called_by_name, named
from slimline.methods.quantize.bias_correction import channel_means, correct_biases
from slimline.methods.quantize.plan import layers_of_kind
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.static import static
from slimline.params import StaticParams
from tests.unbalanced import CALIBRATION, data_for, logit_sqnr_db, unbalanced_net

PER_TENSOR = StaticParams(source="teacher", method="static", granularity="per-tensor")
CORRECTED = PER_TENSOR.model_copy(update={"bias_correction": True})


def means(model: nn.Module, layers: tuple[str, ...]) -> dict[str, Tensor]:
    """Each layer's mean output by channel, on the calibration sample."""
    found: dict[str, Tensor] = {}

    def note(name: str, layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        found[name] = channel_means(layer, output)

    for name in layers:
        model.get_submodule(name).register_forward_hook(functools.partial(note, name))
    with torch.no_grad():
        model(**CALIBRATION)
    return found


def test_means_are_put_back_and_held_out_logits_are_nearer() -> None:
    net = unbalanced_net(20.0)
    statistics = collect_statistics(net, named(net, CALIBRATION), 32)
    plain, corrected = (static(net, config, statistics=statistics, data=data_for()) for config in (PER_TENSOR, CORRECTED))
    assert logit_sqnr_db(net, corrected) > logit_sqnr_db(net, plain) + 2
    layers = layers_of_kind(corrected.plan, "static")
    wanted = means(copy.deepcopy(plain.model), layers)
    shifted, put_back = (means(simulate(made.model, made.plan), layers) for made in (plain, corrected))
    for name in layers:
        torch.testing.assert_close(put_back[name], wanted[name], rtol=1e-4, atol=1e-5)
    assert max(float((shifted[name] - wanted[name]).abs().max()) for name in layers) > 0.05
    assert all(torch.equal(corrected.model.get_submodule(name).weight, plain.model.get_submodule(name).weight) for name in layers)


def test_a_layer_without_bias_gets_one_and_a_float_one_is_left_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.ReLU(), nn.Conv1d(6, 4, 3, bias=False), nn.Flatten(), nn.Linear(16, 3))
    model = called_by_name(nn.Sequential(model[0], model[1], nn.Flatten(2), nn.AdaptiveAvgPool1d(6), *model[2:]).eval(), "x")
    config = StaticParams(source="teacher", method="static", keep_float=("6",))
    made = static(model, config, statistics=collect_statistics(model, named(model, CALIBRATION), 32))
    corrected = correct_biases(made.model, made.plan, reference=model, calibration=CALIBRATION)
    assert corrected[0].bias.shape == (6,)
    assert corrected[4].bias.shape == (4,)
    assert torch.equal(corrected[6].bias, model[6].bias)
    assert made.model[0].bias is None


def test_a_layer_that_runs_twice_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(64, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(self.conv(x)).flatten(1))

    torch.manual_seed(0)
    model = Twice().eval()
    config = StaticParams(source="teacher", method="static")
    made = static(model, config, statistics=collect_statistics(model, named(model, CALIBRATION), 32))
    corrected = correct_biases(made.model, made.plan, reference=model, calibration=CALIBRATION)
    assert torch.equal(corrected.conv.bias, model.conv.bias)
    assert not torch.equal(corrected.head.bias, model.head.bias)


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.Linear(3, 2), (5, 7, 2)), (nn.Conv2d(3, 2, 1), (5, 2, 4, 4)), (nn.Conv1d(3, 2, 1), (5, 2, 4))]
)
def test_means_are_by_channel(layer: nn.Module, shape: tuple[int, ...]) -> None:
    output = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    axes = [axis for axis in range(len(shape)) if axis != (len(shape) - 1 if isinstance(layer, nn.Linear) else 1)]
    torch.testing.assert_close(channel_means(layer, output), output.mean(dim=axes))
