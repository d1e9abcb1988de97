"""The bytes that the quantize page tells are those of the compiled file's weights, whatever a net is made of."""

import functools
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from slimline import params
from slimline.calibration.statistics import CalibrationStatistics, collect_statistics
from slimline.data.batch import Batch, take
from slimline.data.calling import named
from slimline.methods import get_method
from slimline.methods.data import MethodData
from slimline.methods.layer_use import uses_of
from slimline.methods.quantize.mixed_plan import budget_text
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate, sqnr_db
from slimline.methods.quantize.stored_bytes import NO_PLAN, stored_bytes, stored_parts
from slimline.report.float_rest import float_rest_table, float_rest_text
from slimline.training.fit import predict
from tests.lowering import samples
from tests.method_data import method_data
from tests.shared_export import shared_exports
from tests.unusual_nets import NETS, unusual_net

FEW_PER_CENT = 0.04
TARGETS = ("onnxruntime", "openvino")
CONFIGS: dict[str, params.QuantizeParams] = {
    "static": params.StaticParams(source="teacher", method="static"),
    "dynamic": params.DynamicParams(source="teacher", method="dynamic"),
    "half": params.HalfParams(source="teacher", method="half", dtype="float16"),
    "int8": params.WeightOnlyParams(source="teacher", method="weight_only", bits=8),
    "int4": params.WeightOnlyParams(source="teacher", method="weight_only", bits=4),
    "zero points": params.WeightOnlyParams(source="teacher", method="weight_only", bits=4, symmetric=False),
    "hqq": params.HqqParams(source="teacher", method="hqq"),
    "mixed": params.MixedParams(source="teacher", method="mixed", max_drop=0.5, samples=8),
    "qat": params.QatParams(source="teacher", method="qat", epochs=1),
}
CASES = [*((net, method) for net in NETS for method in ("static", "int4")), *(("normed", method) for method in CONFIGS)]


@pytest.fixture(scope="module", autouse=True)
def exported_once() -> Iterator[None]:
    with shared_exports():
        yield


@functools.cache
def net_of(name: str) -> tuple[nn.Module, Batch, MethodData, CalibrationStatistics]:
    net, inputs = unusual_net(name)
    batch = named(net, inputs)
    return net, batch, method_data(net, batch, predict(net, batch).argmax(dim=1)), collect_statistics(net, batch, 32)


@functools.cache
def made_of(name: str, method: str) -> Quantized:
    net, _, data, statistics = net_of(name)
    made: Quantized = get_method("quantize", CONFIGS[method].method)(net, CONFIGS[method], statistics=statistics, data=data)
    return made


def told(name: str, made: Quantized) -> int:
    return stored_bytes(made.model, made.plan, uses_of(made.model, take(net_of(name)[1], slice(0, 2))), made.grids)


def bytes_of_file(target: str, folder: Path) -> int:
    if target == "openvino":
        return (folder / "model.bin").stat().st_size
    return sum(len(tensor.raw_data) for tensor in onnx.load(folder / "model.onnx").graph.initializer)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("name", "method"), dict.fromkeys(CASES))
def test_the_page_tells_what_the_file_holds(name: str, method: str, target: str, tmp_path: Path) -> None:
    inputs, made = net_of(name)[1], made_of(name, method)
    compile_for = get_method("compile", target)
    lowered = compile_for(made.model, made.plan, tmp_path, grids=made.grids, **samples(made.model, inputs))
    assert bytes_of_file(target, tmp_path) == pytest.approx(told(name, made), rel=FEW_PER_CENT)
    assert set(lowered.layers) == {layer for layer, entry in made.plan["layers"].items() if entry["precision"] != "float32"}


@pytest.mark.parametrize("name", NETS)
def test_without_a_plan_every_parameter_and_buffer_counts_once(name: str) -> None:
    net, inputs, *_ = net_of(name)
    parts = stored_parts(net, NO_PLAN, uses_of(net, take(inputs, slice(0, 2))))
    tensors = {id(value): value for value in (*net.parameters(), *net.buffers())}
    folded = [module for norm, module in net.named_modules() if norm in uses_of(net, take(inputs, slice(0, 2))).folded]
    whole = sum(value.numel() * value.element_size() for value in tensors.values())
    gone = sum(value.numel() * value.element_size() for norm in folded for value in (*norm.parameters(), *norm.buffers()))
    biases = sum(4 * len(norm.weight) for norm in folded)  # of layers that have none
    assert sum(part.small + part.kept + part.unread for part in parts) == whole - gone + biases


REASONS = {
    "attending": {"attend.out_proj": "read by attend itself"},
    "by function": {
        "head": "read by the model itself",
        "sliced": "read by the model itself",
        "standard": "changes its weight in every run",
        "auxiliary": "does not run in evaluation",
    },
    "stepped": {},
}


@pytest.mark.parametrize("method", ["static", "dynamic", "half", "int4", "hqq", "mixed"])
@pytest.mark.parametrize("name", REASONS)
def test_a_weight_that_is_not_used_by_its_layer_alone_stays_float_and_says_so(name: str, method: str) -> None:
    layers = made_of(name, method).plan["layers"]
    for layer, words in REASONS[name].items():
        assert layers[layer]["precision"] == "float32"
        assert words in layers[layer]["reason"]
    assert any(entry["precision"] != "float32" for entry in layers.values())


def test_layers_are_seen_however_they_are_called() -> None:
    """By position, by keyword, twice, without gradients, with a state handed over: each has its range."""
    layers = made_of("by function", "static").plan["layers"] | made_of("stepped", "static").plan["layers"]
    assert {name for name, entry in layers.items() if entry["input_range"]} >= {"enter", "twice", "lstm"}


@pytest.mark.parametrize("name", NETS)
def test_rounding_touches_the_planned_layers_alone(name: str) -> None:
    net, inputs, *_ = net_of(name)
    made = made_of(name, "int4")
    twin = simulate(made.model, made.plan, made.grids)
    assert 5 < sqnr_db(predict(net, inputs), predict(twin, inputs)) < 100
    small = {f"{layer}.weight" for layer, entry in made.plan["layers"].items() if entry["precision"] != "float32"}
    before, after = dict(net.named_parameters()), dict(twin.named_parameters())
    assert all(torch.equal(before[key], after[key]) for key in before if key in after and key.startswith("embed") and key not in small)


def test_the_page_names_what_stays_float_with_its_share() -> None:
    net, inputs, data, statistics = net_of("embedded")
    config = params.StaticParams(source="teacher", method="static", embeddings="float32")
    made: Quantized = get_method("quantize", "static")(net, config, statistics=statistics, data=data)
    parts = stored_parts(made.model, made.plan, uses_of(made.model, take(inputs, slice(0, 2))), made.grids)
    text, table = float_rest_text(parts), float_rest_table(parts, made.plan)
    total = sum(part.small + part.kept for part in parts)
    assert f"of the {total:,} bytes stay in float; the most of it is embed (Embedding), 51,200 bytes" in text
    assert table.rows[0][:4] == ("embed", "Embedding", 51200, f"{100 * 51200 / total:.2f} %")
    assert sum(row[2] for row in table.rows) == sum(part.kept for part in parts)
    idle = float_rest_table(stored_parts(net_of("by function")[0], NO_PLAN, uses_of(*net_of("by function")[:2])), {"layers": {}})
    assert [row[:4] for row in idle.rows if row[0] == "auxiliary"] == [("auxiliary", "Linear", 780, "not counted")]


def test_mixed_counts_the_same_bytes_and_says_when_a_budget_is_out_of_reach() -> None:
    net, inputs, data, statistics = net_of("embedded")
    within = params.MixedParams(source="teacher", method="mixed", budget={"size_ratio": 3.0}, max_drop=0.9, samples=8)
    assert get_method("quantize", "mixed")(net, within, statistics=statistics, data=data).plan["mixed"]["met"]["budget"]
    config = within.model_copy(update={"embeddings": "float32"})
    made: Quantized = get_method("quantize", "mixed")(net, config, statistics=statistics, data=data)
    facts = made.plan["mixed"]
    float_bytes = stored_bytes(net, NO_PLAN, uses_of(net, take(inputs, slice(0, 2))))
    assert facts["estimated_size_ratio"] == pytest.approx(float_bytes / told("embedded", made), abs=1e-5)
    assert not facts["met"]["budget"]
    assert facts["fixed_bytes"] > float_bytes / 3
    assert "out of reach, since 53," in budget_text(facts)
