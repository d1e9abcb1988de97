"""Compile for ONNX Runtime: a slim ONNX file, with QDQ int8 (U8 activations, S8 weights), int8 or 16-bit weights where planned."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from slimline.errors import StageError
from slimline.methods.compile.lowered import Lowered
from slimline.methods.compile.onnx_graph import (
    INPUT,
    constant_bytes,
    export_onnx,
    initializers,
    layer_nodes,
    layer_of,
    operations,
    producers,
    replace_initializer,
    slim,
    without_output_rounding,
)
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.methods.quantize.plan import Plan, planned

switch_off_telemetry()
import onnxruntime as ort  # noqa: E402
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static  # noqa: E402
from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: E402

MODEL = "model.onnx"
MAX_BATCH_SIZE = 32
CALIBRATORS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile, "entropy": CalibrationMethod.Entropy}
QUANTIZABLE = ("Conv", "Gemm", "MatMul", "Add", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Relu", "Clip")
MOVES = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "MaxPool", "Relu", "Clip")
"""What ONNX Runtime rounds as well (so that int8 flows from layer to layer), and what only moves or clips values."""


class Batches(CalibrationDataReader):  # type: ignore[misc]
    """The calibration sample for ONNX Runtime's calibrators, in equal batches of at most 32: its histograms take no other."""

    def __init__(self, inputs: Tensor) -> None:
        size = max(size for size in range(1, MAX_BATCH_SIZE + 1) if len(inputs) % size == 0)
        self.left = iter(torch.split(inputs, size))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or None."""
        batch = next(self.left, None)
        return None if batch is None else {INPUT: batch.numpy()}


def onnxruntime(model: nn.Module, plan: Plan | None, folder: Path, *, example_input: Tensor, calibration: Tensor) -> Lowered:
    """Write model.onnx into `folder`.

    Without a plan: the float32 graph. static: QDQ with the plan's input ranges; what lies between layers (residual sums) is
    ranged by ONNX Runtime's own calibrator with the plan's observer; logits stay float. dynamic: Linear layers as
    MatMulInteger with run-time ranges, convolutions with int8 weights that are unpacked at load. half: 16-bit weights,
    unpacked at load and computed in float32. https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html

    Raises:
        StageError: the model cannot be exported, or the graph does not do what the plan says.
    """
    exported = export_onnx(model, example_input)
    before = operations(exported.graph)
    plain = slim(exported)
    lowered = _LOWERINGS[plan["method"]](exported, plan, calibration) if plan else exported
    stored = _stored_layers(lowered, plan) if plan else ()
    final = slim(lowered)
    onnx.save(final, folder / MODEL)
    method = plan["method"] if plan else ""
    return Lowered(
        precision="float32" if plan is None else plan["dtype"] or "int8",
        computes=_computes(plan),
        execution={"session.disable_quant_qdq": "1"} if method == "dynamic" else {},
        layers=stored,
        weight_bytes=constant_bytes(final.graph),
        float32_weight_bytes=constant_bytes(plain.graph),
        float32_bytes=plain.ByteSize(),
        operations_before=before,
        operations_after=_optimised(final),
        notes=_NOTES.get(method, ()),
    )


_NOTES = {
    "half": ("ONNX Runtime has no 16-bit CPU kernels for these layers: the weights are unpacked at load, the arithmetic is float32.",),
    "dynamic": ("Convolutions store int8 weights, unpacked at load, and compute in float32; Linear layers compute in int8.",),
}


def _computes(plan: Plan | None) -> str:
    """The arithmetic of the planned layers: half is unpacked, and so are int8 weights whose inputs stay in float."""
    if plan is None or plan["method"] == "half":
        return "float32"
    kinds = {"int8" if plan["layers"][name]["activations"] else "float32" for name in planned(plan, "int8")}
    return "+".join(sorted(kinds, reverse=True))


def _static(exported: onnx.ModelProto, plan: Plan, calibration: Tensor) -> onnx.ModelProto:
    with _prepared(exported, plan) as (source, target):
        graph = onnx.load(source).graph
        percentile = {"CalibPercentile": plan["percentile"]} if plan["percentile"] else {}
        quantize_static(
            source,
            target,
            Batches(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZABLE),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_float_nodes(graph, plan),
            calibrate_method=CALIBRATORS[plan["observer"]],
            extra_options={"TensorQuantOverrides": _planned_ranges(graph, plan), **percentile},
        )
        quantized = onnx.load(target)
    without_output_rounding(quantized.graph)
    return quantized


def _dynamic(exported: onnx.ModelProto, plan: Plan, calibration: Tensor) -> onnx.ModelProto:  # noqa: ARG001 (uniform signature)
    with _prepared(exported, plan) as (source, target):
        floats = _float_nodes(onnx.load(source).graph, plan)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*floats, *(f"{name}_MatMul" for name in floats)],
            extra_options={"MatMulConstBOnly": True},
        )
        quantized = onnx.load(target)
    convolutions = [name for name in planned(plan, "int8") if not plan["layers"][name]["activations"]]
    _store_weights(quantized.graph, convolutions, _as_int8)
    return quantized


def _half(exported: onnx.ModelProto, plan: Plan, calibration: Tensor) -> onnx.ModelProto:  # noqa: ARG001 (uniform signature)
    small = onnx.ModelProto()
    small.CopyFrom(exported)
    _store_weights(small.graph, planned(plan, plan["dtype"]), lambda graph, name: _as_sixteen_bit(graph, name, plan["dtype"]))
    return small


_LOWERINGS: dict[str, Callable[[onnx.ModelProto, Plan, Tensor], onnx.ModelProto]] = {"static": _static, "dynamic": _dynamic, "half": _half}


@contextlib.contextmanager
def _prepared(exported: onnx.ModelProto, plan: Plan) -> Iterator[tuple[Path, Path]]:
    """The pre-processed model's file and a place for the quantized one, with ONNX Runtime's chatter held back."""
    root = logging.getLogger()
    level = root.level
    with tempfile.TemporaryDirectory(prefix="slimline-") as place, contextlib.redirect_stdout(io.StringIO()):
        root.setLevel(logging.ERROR)
        try:
            source = Path(place) / "float.onnx"
            quant_pre_process(exported, source)
            found = layer_nodes(onnx.load(source).graph, plan["layers"])
            if lost := sorted(plan["layers"].keys() - {layer_of(name) for name in found}):
                raise StageError(f"compile: onnxruntime's pre-processing lost layer {lost[0]!r}; put it in keep_float and report this")
            yield source, Path(place) / "quantized.onnx"
        finally:
            root.setLevel(level)


def _float_nodes(graph: onnx.GraphProto, plan: Plan) -> list[str]:
    """Convolutions and matrix products that stay in float: those the plan keeps, and those that are no layer of it."""
    wanted = set(planned(plan, "int8"))
    return [node.name for node in graph.node if node.op_type in QUANTIZABLE[:3] and layer_of(node.name) not in wanted]


def _planned_ranges(graph: onnx.GraphProto, plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """The plan's input ranges for the tensors that its int8 layers read, in ONNX Runtime's words."""
    made_by, ranges = producers(graph), {}
    for name, node in layer_nodes(graph, planned(plan, "int8")).items():
        tensor = node.input[0]
        while tensor in made_by and made_by[tensor].op_type in MOVES[:6]:
            tensor = made_by[tensor].input[0]
        low, high = plan["layers"][layer_of(name)]["input_range"]
        ranges[tensor] = [{"quant_type": QuantType.QUInt8, "rmin": np.float32(low), "rmax": np.float32(high)}]
    return ranges


def _store_weights(graph: onnx.GraphProto, layers: Iterable[str], store: Callable[[onnx.GraphProto, str], None]) -> None:
    constants = initializers(graph)
    names = {node.input[1] for node in layer_nodes(graph, layers).values()}
    for name in sorted(name for name in names if name in constants):
        store(graph, name)


def _as_int8(graph: onnx.GraphProto, name: str) -> None:
    weight = numpy_helper.to_array(initializers(graph)[name])
    largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim)))
    scales = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
    levels = np.round(weight / scales.reshape(-1, *[1] * (weight.ndim - 1))).clip(-127, 127).astype(np.int8)
    parts = {f"{name}_int8": levels, f"{name}_scale": scales}
    replace_initializer(graph, name, parts, helper.make_node("DequantizeLinear", list(parts), [name], axis=0))


def _as_sixteen_bit(graph: onnx.GraphProto, name: str, dtype: str) -> None:
    tensor = initializers(graph)[name]
    kind = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}[dtype]
    value = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(kind))
    cast = helper.make_node("Cast", [f"{name}_16"], [name], to=TensorProto.FLOAT)
    replace_initializer(graph, name, {f"{name}_16": value}, cast)


def _stored_layers(graph_model: onnx.ModelProto, plan: Plan) -> tuple[str, ...]:
    """The plan's layers whose weights really are of the planned type in the graph, in the plan's order."""
    graph = graph_model.graph
    constants, made_by = initializers(graph), producers(graph)
    kinds = {"int8": TensorProto.INT8, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
    stored = set()
    for node in graph.node:
        layer = layer_of(node.name).removesuffix("_quant").removesuffix("_MatMul")
        weight = node.input[1] if len(node.input) > 1 and layer in plan["layers"] else ""
        unpacked = made_by.get(weight)
        name = weight if unpacked is None else unpacked.input[0]
        if name in constants and constants[name].data_type == kinds.get(plan["layers"][layer]["precision"]):
            stored.add(layer)
    return tuple(name for name in plan["layers"] if name in stored)


def _optimised(graph_model: onnx.ModelProto) -> dict[str, int]:
    """The node types that ONNX Runtime really runs on this machine, after its extended optimisations."""
    with tempfile.TemporaryDirectory(prefix="slimline-") as place:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(place) / "optimised.onnx")
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        ort.InferenceSession(graph_model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return operations(onnx.load(options.optimized_model_filepath).graph)
