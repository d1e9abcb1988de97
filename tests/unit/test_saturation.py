"""Int8 on CPUs that add two products in 16 bits: nothing saturates there, whoever made the file."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.calling import named
from slimline.errors import MachineError
from slimline.loaders import openvino as loader
from slimline.methods import get_method
from slimline.methods.compile import onnx_saturation, onnxruntime, openvino_seven_bits, openvino_tokens, saturation
from slimline.methods.compile.integer_weights import IntegerWeight
from slimline.methods.compile.saturation import SEVEN_BITS, sums_saturate
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate, sqnr_db
from slimline.params import CONFIGS
from slimline.runtime import load
from slimline.training.fit import predict
from tests.lowering import samples, write_compiled
from tests.method_data import method_data
from tests.onnx_sessions import exact_session
from tests.shared_export import shared_exports

WIDTH = 64
ALL_HIGH = torch.rand(64, WIDTH, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.8
"""Inputs near the upper end of their range: products with weights at theirs are the largest."""


@pytest.fixture(autouse=True)
def exported_once() -> Iterator[None]:
    with shared_exports():
        yield


@pytest.fixture
def saturating(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled on a CPU without VNNI."""
    for module in (openvino_seven_bits, openvino_tokens, onnx_saturation):
        monkeypatch.setattr(module, "sums_saturate", lambda: True)


class Twice(nn.Module):
    """One layer that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = extreme(), extreme(2)

    def forward(self, input: Tensor) -> Tensor:
        """[N, 64] -> [N, 64]."""
        first: Tensor = self.layer(input).sigmoid()
        second: Tensor = self.last(self.layer(first).sigmoid())
        return second


def extreme(seed: int = 1) -> nn.Linear:
    """Weights in pairs of one sign, most near the largest: sums of two products are twice what 16 bits hold."""
    layer = nn.Linear(WIDTH, WIDTH)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randint(0, 2, (WIDTH, WIDTH // 2), generator=generator).repeat_interleave(2, dim=1) * 2 - 1
        layer.weight.copy_(signs * (0.9 + 0.1 * torch.rand(WIDTH, WIDTH, generator=generator)) / 8)
    return layer


def plain() -> nn.Module:
    return nn.Sequential(extreme(), nn.Sigmoid(), extreme(2))


def alike() -> nn.Module:
    """Two layers of equal weights, which stand once in the file."""
    return nn.Sequential(extreme(), nn.Sigmoid(), extreme())


def in_proportion() -> nn.Module:
    """Two layers that differ by a factor of each output, as by the batch norms behind one convolution: equal levels, two scales."""
    net = alike()
    with torch.no_grad():
        net[2].weight.mul_(2.0 ** (torch.arange(WIDTH) % 3)[:, None])
    return net


def made(net: nn.Module, method: str, **settings: Any) -> Quantized:
    config = CONFIGS["quantize"][method](source="teacher", method=method, **settings)
    statistics = collect_statistics(net, named(net, ALL_HIGH), 32)
    found: Quantized = get_method("quantize", method)(net, config, statistics=statistics, data=method_data(net, ALL_HIGH))
    return found


def nearness_db(variant: Quantized, target: str, folder: Path) -> float:
    """How near what the target computes is to what the plan simulates."""
    lowered = get_method("compile", target)(variant.model, variant.plan, folder, grids=variant.grids, **samples(variant.model, ALL_HIGH))
    expected = predict(simulate(variant.model, variant.plan, variant.grids), named(variant.model, ALL_HIGH))
    if target == "onnxruntime":
        session = exact_session(folder / "model.onnx")
        return sqnr_db(expected, torch.from_numpy(session.run(None, {session.get_inputs()[0].name: ALL_HIGH.numpy()})[0]))
    compiled = ov.Core().compile_model(folder / "model.xml", "CPU", lowered.execution)
    return sqnr_db(expected, torch.from_numpy(compiled(ALL_HIGH.numpy())[0].copy()))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("settings", [{"method": "static"}, {"method": "smoothquant", "ranges": "per-token"}], ids=["static", "per-token"])
@pytest.mark.parametrize("net", [plain, Twice], ids=["once", "twice"])
def test_the_largest_products_are_summed_whole_on_this_cpu(net: Any, settings: dict[str, Any], target: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert nearness_db(made(net(), **settings), target, tmp_path) > 30


@pytest.mark.usefixtures("saturating")
@pytest.mark.parametrize("settings", [{"method": "static"}, {"method": "smoothquant", "ranges": "per-token"}], ids=["static", "per-token"])
def test_openvino_gets_seven_bits_where_sums_saturate(settings: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert nearness_db(made(plain(), **settings), "openvino", tmp_path) > 30
    levels = [
        operation.data
        for operation in ov.Core().read_model(tmp_path / "model.xml").get_ordered_ops()
        if operation.get_type_name() == "Constant" and operation.get_element_type() == ov.Type.i8
    ]
    assert len(levels) == 2
    assert all(SEVEN_BITS - 1 <= np.abs(each.astype(int)).max() <= SEVEN_BITS for each in levels)


@pytest.mark.parametrize("is_made_here", [True, False])
def test_openvino_refuses_eight_bits_of_another_cpu(is_made_here: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_seven_bits, "sums_saturate", lambda: is_made_here)
    monkeypatch.setattr(loader, "sums_saturate", lambda: True)
    variant, given = made(plain(), "static"), samples(plain(), ALL_HIGH)
    lowered = get_method("compile", "openvino")(variant.model, variant.plan, tmp_path, **given)
    write_compiled(tmp_path, "openvino", lowered, given)
    if is_made_here:
        assert load(tmp_path).predict(ALL_HIGH.numpy()).shape == (len(ALL_HIGH), WIDTH)
    else:
        with pytest.raises(MachineError, match="8-bit weights, and this CPU has neither VNNI nor AMX"):
            load(tmp_path)


@pytest.mark.skipif(not sums_saturate(), reason="this CPU sums int8 products whole")
def test_onnx_runtime_refuses_shared_eight_bits_of_another_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_saturation, "sums_saturate", lambda: False)
    monkeypatch.setattr(onnxruntime, "optimised_operations", lambda _: {})
    variant, given = made(Twice(), "static"), samples(Twice(), ALL_HIGH)
    lowered = get_method("compile", "onnxruntime")(variant.model, variant.plan, tmp_path, **given)
    write_compiled(tmp_path, "onnxruntime", lowered, given)
    with pytest.raises(MachineError, match="its layers share 8-bit weights, which ONNX Runtime cannot multiply exactly on this CPU"):
        load(tmp_path)


@pytest.mark.usefixtures("saturating")
@pytest.mark.parametrize(("net", "most"), [(plain, 127), (Twice, SEVEN_BITS), (alike, SEVEN_BITS), (in_proportion, SEVEN_BITS)])
def test_onnx_runtime_keeps_eight_bits_but_for_a_shared_weight(net: Any, most: int, tmp_path: Path) -> None:
    """Its exact products take 8 bits; two nodes of one weight they refuse, be it of several scales."""
    torch.manual_seed(0)
    assert nearness_db(made(net(), "static"), "onnxruntime", tmp_path) > 30
    graph = onnx.load(tmp_path / "model.onnx").graph
    levels = [numpy_helper.to_array(one).astype(int) for one in graph.initializer if one.data_type == onnx.TensorProto.INT8]
    assert {int(np.abs(each).max()) for each in levels} == {0, most}  # zero points, weights


@pytest.mark.parametrize(
    ("flags", "saturates"),
    [("avx avx2 fma", True), ("avx avx2 avx512f avx512bw", True), ("avx2 avx_vnni", False), ("avx2 avx512f avx512_vnni", False)],
)
def test_which_cpus_saturate(flags: str, saturates: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    for machine, found in (("x86_64", saturates), ("aarch64", False)):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert sums_saturate(tmp_path / "cpuinfo") is found


@pytest.mark.parametrize("saturates", [True, False])
def test_exact_products_cost_half_the_speed_and_are_asked_for_where_sums_saturate(saturates: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saturation, "sums_saturate", lambda: saturates)
    asked: dict[str, str] = {}
    saturation.multiply_exactly(SimpleNamespace(add_session_config_entry=asked.__setitem__))
    assert asked == ({"session.x64quantprecision": "1"} if saturates else {})


def test_half_the_levels_stand_for_twice_the_scale() -> None:
    weight = IntegerWeight(np.array([[[-127, -3, 0, 4, 127]]], np.int8), np.array([[0.5]], np.float32), None, 8)
    small = weight.in_seven_bits()
    assert small.levels.tolist() == [[[-64, -2, 0, 2, 64]]]
    assert np.abs(small.unpacked() - weight.unpacked()).max() <= 0.5
