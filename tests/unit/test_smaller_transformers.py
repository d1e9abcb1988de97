"""Models without some heads, neurons or blocks on the runtimes: the same outputs, less work, and int8 where it is planned."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from torch import Tensor, nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import Batch, take
from slimline.data.signature import signature_of
from slimline.measure.compute import count
from slimline.methods import get_method
from slimline.methods.compile.lowered import Lowered
from slimline.methods.prune.depth import depth
from slimline.methods.prune.heads import heads
from slimline.methods.quantize.plan import planned
from slimline.methods.quantize.simulate import simulate, sqnr_db
from slimline.methods.quantize.static import static
from slimline.params import DepthParams, HeadsParams, StaticParams
from tests.attention_nets import KINDS, net
from tests.method_data import method_data
from tests.onnx_sessions import exact_session
from tests.shared_export import shared_exports
from tests.small_nets import seeded

IMAGES = {"x": torch.randn(33, 1, 4, 4, generator=torch.Generator().manual_seed(1))}
ROWS = {"x": torch.randn(33, 4, 8, generator=torch.Generator().manual_seed(1))}
HALF = HeadsParams(source="teacher", method="heads", fraction=0.5, mlp_ratio=0.5)
ONE_LESS = DepthParams(source="teacher", method="depth", blocks=1)


@cache
def made(name: str) -> tuple[nn.Module, nn.Module, Batch]:
    """The whole model, the smaller one, and inputs."""
    if name in KINDS:
        whole = net(KINDS[name])
        return whole, heads(whole, HALF, data=method_data(whole, ROWS)).model, ROWS
    kind, _, method = name.partition(" without ")
    whole = seeded(kind, 32).eval()
    data = method_data(whole, IMAGES)
    smaller = (heads(whole, HALF, data=data) if method == "heads" else depth(whole, ONE_LESS, data=data)).model
    return whole, smaller, IMAGES


@pytest.fixture(scope="module", autouse=True)
def exported_once() -> Iterator[None]:
    with shared_exports():
        yield


def compiled(target: str, model: nn.Module, plan: dict[str, Any] | None, folder: Path, inputs: Batch) -> Lowered:
    signature = signature_of([inputs], inputs["x"])
    return get_method("compile", target)(model, plan, folder, example=take(inputs, slice(0, 2)), calibration=inputs, signature=signature)


def outputs(folder: Path, target: str, lowered: Lowered, inputs: Batch) -> Tensor:
    if target == "openvino":
        compiled = ov.Core().compile_model(folder / "model.xml", "CPU", lowered.execution)
        return torch.from_numpy(compiled({name: value.numpy() for name, value in inputs.items()})[0].copy())
    session = exact_session(folder / "model.onnx")
    return torch.from_numpy(session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", ["encoder without heads", "encoder without a block", "blocks without a block", "fused"])
def test_the_runtimes_compute_the_smaller_model(name: str, target: str, tmp_path: Path) -> None:
    whole, smaller, inputs = made(name)
    lowered = compiled(target, smaller, None, tmp_path, inputs)
    for some in (inputs, take(inputs, slice(0, 1))):
        with torch.no_grad():
            torch.testing.assert_close(outputs(tmp_path, target, lowered, some), smaller(**some), atol=2e-5, rtol=1e-4)
    values = sum(value.numel() for value in smaller.parameters())
    assert lowered.weight_bytes < 4 * values * 1.1
    assert values < 0.75 * sum(value.numel() for value in whole.parameters())
    assert count(smaller, inputs).macs < 0.75 * count(whole, inputs).macs


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_attention_that_lost_heads_computes_in_int8(target: str, tmp_path: Path) -> None:
    """nn.MultiheadAttention reads its weights itself and stays float; its stand-in's are Linear layers like all others."""
    whole, smaller, inputs = made("encoder without heads")
    config = StaticParams(source="teacher", method="static")
    plans = [static(model, config, statistics=collect_statistics(model, inputs, 33)) for model in (whole, smaller)]
    attention = [{name for name in planned(found.plan, "int8") if "self_attn" in name} for found in plans]
    projections = {f"encoder.layers.{layer}.self_attn.{name}" for layer in (0, 1) for name in ("in_proj", "out_proj")}
    assert attention == [set(), projections]
    lowered = compiled(target, smaller, plans[1].plan, tmp_path, inputs)
    assert projections <= set(lowered.layers)
    with torch.no_grad():
        assert sqnr_db(simulate(plans[1].model, plans[1].plan)(**inputs), outputs(tmp_path, target, lowered, inputs)) > 25
    if target == "onnxruntime":
        stored = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer]
        assert any(value.dtype == np.int8 and value.shape == (32, 48) for value in stored)
