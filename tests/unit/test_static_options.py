"""The options of static int8: what each changes in the plan and in the weights, and that both runtimes follow them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.calling import named
from slimline.errors import StageError
from slimline.methods import get_method
from slimline.methods.compile.parity import compare_outputs
from slimline.methods.quantize.clipping import clipped_weight
from slimline.methods.quantize.plan import layer_plan, layers_of_kind
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.static import static
from slimline.methods.quantize.weights import rounded_weight
from slimline.params import StaticParams
from slimline.training.fit import predict
from tests.lowering import samples
from tests.method_data import TEN
from tests.onnx_sessions import exact_session
from tests.shared_export import shared_exports
from tests.unbalanced import CALIBRATION, HELD_OUT, data_for, unbalanced_net


@pytest.fixture(scope="module", autouse=True)
def exported_once() -> Iterator[None]:
    with shared_exports():
        yield


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return unbalanced_net(3.0)


def made(net: nn.Module, **settings: Any) -> Quantized:
    config = StaticParams(source="teacher", method="static", **settings)
    return static(net, config, statistics=collect_statistics(net, named(net, CALIBRATION), 32), data=data_for())


def test_plain_static_leaves_every_weight_as_it_was(net: nn.Module) -> None:
    plain = made(net)
    assert plain.model.state_dict().keys() == net.state_dict().keys()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in plain.model.state_dict().items())
    assert plain.notes == ()


def test_symmetric_and_per_tensor_are_in_the_plan(net: nn.Module) -> None:
    plan = made(net, activations="symmetric", granularity="per-tensor").plan
    assert plan["scheme"]["weights"]["granularity"] == "per-tensor"
    assert plan["scheme"]["activations"]["symmetric"] is True
    for entry in plan["layers"].values():
        assert entry["granularity"] == "per-tensor"
        assert entry["input_range"][0] == pytest.approx(-entry["input_range"][1] * 128 / 127)


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_clipped_weights_round_with_less_error_and_tell_their_grid(granularity: str) -> None:
    layer = nn.Linear(20_000, 4)
    with torch.no_grad():
        normal = torch.randn(2, 4, 20_000, generator=torch.Generator().manual_seed(0))
        layer.weight.copy_(normal[0].square() * normal[1].sign())
    entry = layer_plan(layer, "int8", activations=True, input_range=(0.0, 1.0), granularity=granularity)
    weight, clipped = layer.weight.detach(), clipped_weight(layer.weight, entry)
    before, after = ((rounded_weight(each, entry) - weight).square().sum() for each in (weight, clipped))
    assert float(after) < 0.99 * float(before)
    assert float(clipped.abs().max()) < float(weight.abs().max())
    kept = weight.abs() < clipped.abs().amax(dim=1, keepdim=True)
    assert torch.equal(clipped[kept], weight[kept])


def test_what_needs_the_sample_says_so(net: nn.Module) -> None:
    config = StaticParams(source="teacher", method="static", equalize=True)
    with pytest.raises(StageError, match="need the calibration sample"):
        static(net, config, statistics=collect_statistics(net, named(net, CALIBRATION), 32))


OPTIONS = (
    {"weight_observer": "mse", "observer": "mse", "equalize": True, "bias_correction": True},
    {"granularity": "per-tensor", "activations": "symmetric", "observer": "moving_average", "equalize": True},
)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(map(str, options)))
def test_both_runtimes_follow(options: dict[str, Any], net: nn.Module, tmp_path: Path) -> None:
    variant = made(net, **options)
    expected = predict(simulate(variant.model, variant.plan), HELD_OUT).numpy()
    for target in ("onnxruntime", "openvino"):
        folder = tmp_path / target
        folder.mkdir()
        compiler = get_method("compile", target)
        lowered = compiler(variant.model, variant.plan, folder, **samples(variant.model, CALIBRATION))
        assert lowered.layers == layers_of_kind(variant.plan, "static")
        parity = compare_outputs(expected, run(folder, target), objective=TEN, exact=False)
        assert parity.agreement >= 0.9
        assert parity.sqnr_db is not None
        assert parity.sqnr_db > 20


def run(folder: Path, target: str) -> np.ndarray:
    if target == "onnxruntime":
        session = exact_session(folder / "model.onnx")
        return np.asarray(session.run(None, {"x": HELD_OUT["x"].numpy()})[0])
    import openvino

    return np.asarray(
        openvino.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(HELD_OUT["x"].numpy())[0]
    )
