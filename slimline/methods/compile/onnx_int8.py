"""Int8 arithmetic for ONNX Runtime: QDQ with the plan's input ranges (static), or ranges while running (dynamic)."""

import contextlib
import io
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from slimline.data.batch import Batch, count, split
from slimline.errors import StageError
from slimline.methods.compile.onnx_graph import layer_nodes, layer_of, producers, without_output_rounding
from slimline.methods.compile.onnx_prepared import (
    CLIPPING,
    hold_gemms,
    part_outputs,
    part_weights,
    pre_process,
    read_exactly,
    release_gemms,
)
from slimline.methods.compile.quiet import quiet
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.methods.quantize.plan import Plan, layers_of_kind, recurrent_of_kind, weighted_of_kind

switch_off_telemetry()
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static  # noqa: E402

MAX_BATCH_SIZE = 32
CALIBRATORS = {"percentile": CalibrationMethod.Percentile, "entropy": CalibrationMethod.Entropy}
WEIGHTED = ("Conv", "Gemm", "MatMul", "LSTM")
PRODUCTS = ("Gemm", "MatMul")
QUANTIZABLE = ("Conv", "Gemm", "MatMul", "Add", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Relu", "Clip")
MOVES = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity")
"""What ONNX Runtime rounds as well (so that int8 flows from layer to layer), and what only moves values."""
SCORES = ("Add", "Sub", "Mul", "Div", "Concat", "Where", "Clip")
"""What scores go through on the way to a softmax."""
Ranges = dict[str, list[dict[str, Any]]]
"""Tensor -> how it is to be rounded, in ONNX Runtime's words."""


class Batches(CalibrationDataReader):  # type: ignore[misc]
    """The calibration sample for ONNX Runtime's calibrators, in equal batches of at most 32: its histograms take no other."""

    def __init__(self, inputs: Batch) -> None:
        size = max(size for size in range(1, MAX_BATCH_SIZE + 1) if count(inputs) % size == 0)
        self.left = split(inputs, size)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or None."""
        batch = next(self.left, None)
        return None if batch is None else {name: value.numpy() for name, value in batch.items()}


def quantize_int8(exported: onnx.ModelProto, plan: Plan, calibration: Batch, *, in_seven_bits: bool) -> onnx.ModelProto:
    """A copy of the graph in which the plan's static and dynamic layers compute in int8; everything else stays float.

    static: QDQ with the plan's input ranges; what lies between layers (residual sums) is ranged by ONNX Runtime's own
    calibrator with the plan's observer; outputs stay float. dynamic: MatMulInteger with run-time ranges. LSTM layers of both kinds:
    DynamicQuantizeLSTM, ranged while running, for there is no kernel with fixed ranges.

    Raises:
        StageError: a planned layer is lost on the way.
    """
    statics, dynamics = weighted_of_kind(plan, "static"), _ranged_while_running(plan)
    with _prepared(exported, plan) as place:
        current = place / "float.onnx"
        if statics:
            current = _static(current, plan, calibration, in_seven_bits)
        quantized = _dynamic(current, plan, in_seven_bits) if dynamics else onnx.load(current)
    if statics:
        without_output_rounding(quantized.graph)
    return quantized


def _static(source: Path, plan: Plan, calibration: Batch, in_seven_bits: bool) -> Path:
    ready, target = onnx.load(source), source.with_name("static.onnx")
    graph = ready.graph
    outputs = part_outputs(graph)
    onnx.save(ready, source)
    percentile = {"CalibPercentile": plan["percentile"]} if plan["percentile"] else {}
    ranges = _planned_ranges(graph, plan)
    clipped = _clipped_below(graph, ranges)
    quantize_static(
        source,
        target,
        Batches(calibration),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(QUANTIZABLE),
        per_channel=True,
        reduce_range=in_seven_bits,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[*_others(graph, weighted_of_kind(plan, "static")), *_masked_scores(graph), *outputs],
        calibrate_method=CALIBRATORS.get(plan["observer"], CalibrationMethod.MinMax),
        extra_options={
            "TensorQuantOverrides": ranges | _read_once(graph, clipped) | _whole_weights(graph, plan),
            "QDQKeepRemovableActivations": bool(clipped),
            **percentile,
            **({"OpTypesToExcludeOutputQuantization": list(PRODUCTS)} if _attends(graph) else {}),
        },
    )
    quantized = onnx.load(target)
    read_exactly(quantized.graph, outputs)
    onnx.save(quantized, target)
    return target


def _ranged_while_running(plan: Plan) -> tuple[str, ...]:
    return *layers_of_kind(plan, "dynamic"), *recurrent_of_kind(plan, "static")


def _dynamic(source: Path, plan: Plan, in_seven_bits: bool) -> onnx.ModelProto:
    target, ready = source.with_name("dynamic.onnx"), onnx.load(source)
    others = _others(ready.graph, _ranged_while_running(plan))
    hold_gemms(ready.graph, others)
    part_weights(ready.graph, {node.name for node in ready.graph.node} - set(others))
    onnx.save(ready, source.with_name("held.onnx"))
    quantize_dynamic(
        source.with_name("held.onnx"),
        target,
        op_types_to_quantize=["MatMul", "LSTM"],
        per_channel=True,
        reduce_range=in_seven_bits,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=others,
        extra_options={"MatMulConstBOnly": True},
    )
    quantized = onnx.load(target)
    release_gemms(quantized.graph, others)
    return quantized


@contextlib.contextmanager
def _prepared(exported: onnx.ModelProto, plan: Plan) -> Iterator[Path]:
    """A folder with the pre-processed model as float.onnx; ONNX Runtime's chatter is held back meanwhile."""
    with tempfile.TemporaryDirectory(prefix="slimline-") as place, contextlib.redirect_stdout(io.StringIO()), quiet(""):
        source = Path(place) / "float.onnx"
        pre_process(exported, source)
        wanted = layers_of_kind(plan, "static", "dynamic")
        found = {layer_of(name) for name in layer_nodes(onnx.load(source).graph, wanted)}
        if lost := sorted(set(wanted) - found):
            raise StageError(f"compile: onnxruntime's pre-processing lost layer {lost[0]!r}; put it in keep_float and report this")
        yield Path(place)


def _others(graph: onnx.GraphProto, layers: tuple[str, ...]) -> list[str]:
    """Convolutions and matrix products that are none of these layers."""
    wanted = set(layers)
    return [node.name for node in graph.node if node.op_type in WEIGHTED and layer_of(node.name) not in wanted]


def _attends(graph: onnx.GraphProto) -> bool:
    """Whether a softmax is read by more than the output: then products stay in float as they come out, for queries are rotated."""
    inside = {name for node in graph.node for name in node.input}
    return any(node.op_type == "Softmax" and node.output[0] in inside for node in graph.node)


def _masked_scores(graph: onnx.GraphProto) -> list[str]:
    """What is summed or joined on the way to a softmax: a mask of minus infinity (or -10,000) would leave one level to all scores.

    Of a net with attention all of it: a rotated query and the outliers of a residual stream do not survive 256 levels either.
    """
    made_by, found = producers(graph), []
    if _attends(graph):
        found += [node.name for node in graph.node if node.op_type in SCORES]
    waiting = [node.input[0] for node in graph.node if node.op_type in ("Softmax", "LogSoftmax")]
    while waiting:
        node = made_by.get(waiting.pop())
        if node is not None and node.op_type in (*SCORES, *MOVES):
            found.append(node.name)
            waiting += node.input
    return found


def _planned_ranges(graph: onnx.GraphProto, plan: Plan) -> Ranges:
    """The plan's input ranges for the tensors that its int8 layers read, in ONNX Runtime's words."""
    made_by, ranges = producers(graph), {}
    for name, node in layer_nodes(graph, weighted_of_kind(plan, "static")).items():
        tensor = node.input[0]
        while tensor in made_by and made_by[tensor].op_type in MOVES:
            tensor = made_by[tensor].input[0]
        low, high = plan["layers"][layer_of(name)]["input_range"]
        ranges[tensor] = [{"quant_type": QuantType.QUInt8, "rmin": np.float32(low), "rmax": np.float32(high)}]
    return ranges


def _whole_weights(graph: onnx.GraphProto, plan: Plan) -> Ranges:
    """The weights with one scale for all outputs, in ONNX Runtime's words; the others have one for each."""
    whole = [name for name in weighted_of_kind(plan, "static") if plan["layers"][name]["granularity"] == "per-tensor"]
    return {node.input[1]: [{"quant_type": QuantType.QInt8, "symmetric": True}] for node in layer_nodes(graph, whole).values()}


def _clipped_below(graph: onnx.GraphProto, ranges: Ranges) -> Ranges:
    """The inputs of each Relu or Clip whose output's range reaches below it (symmetric activations), and that range.

    Such an activation cannot be left to the range; rounded to one grid before and after it, a value is rounded once.
    """
    made_by = producers(graph)
    clipping = {name: made_by[name].input[0] for name in ranges if name in made_by and made_by[name].op_type in CLIPPING}
    return {source: ranges[name] for name, source in clipping.items() if ranges[name][0]["rmin"] < 0}


def _read_once(graph: onnx.GraphProto, ranges: Ranges) -> Ranges:
    readers = Counter(name for node in graph.node for name in node.input)
    return {name: chosen for name, chosen in ranges.items() if readers[name] == 1}
