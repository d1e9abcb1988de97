"""Compile for ONNX Runtime: a slim ONNX file, with QDQ int8 (U8 activations, S8 weights) or smaller stored weights where planned."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx
from torch import Tensor, nn

from slimline.artifact.variant import NO_GRIDS
from slimline.data.batch import Batch
from slimline.data.signature import Signature
from slimline.methods.compile.lowered import Lowered, arithmetic
from slimline.methods.compile.onnx_graph import constant_bytes, export_onnx, operations
from slimline.methods.compile.onnx_int8 import quantize_int8
from slimline.methods.compile.onnx_saturation import saturates
from slimline.methods.compile.onnx_slim import slim
from slimline.methods.compile.onnx_tokens import range_tokens
from slimline.methods.compile.onnx_weights import store_weights, stored_layers
from slimline.methods.compile.saturation import multiply_exactly
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.methods.quantize.plan import (
    TABLE,
    Plan,
    computes_in_int8,
    kind,
    layers_of_kind,
    recurrent_of_kind,
    smallest_precision,
    weighted_of_kind,
)
from slimline.methods.quantize.token_ranges import token_ranged

switch_off_telemetry()
import onnxruntime as ort  # noqa: E402

MODEL = "model.onnx"
RANGED = "LSTM layers take the ranges of their inputs while running: ONNX Runtime has no kernel with fixed ones."
BLOCKWISE = "Matrix products read weights as they are stored, and round their inputs to int8 while running, block by block."
STORED_IN_SEVEN_BITS = (
    "Layers share weights, and this CPU has neither VNNI nor AMX and adds two int8 products in 16 bits, which ONNX Runtime avoids for "
    "weights of their own alone: those of int8 arithmetic are stored in 7 bits, so that no sum saturates."
)
UNPACKED = {
    "half": "ONNX Runtime has no 16-bit CPU kernels for these layers: 16-bit weights are unpacked at load, the arithmetic is float32.",
    "weights": "Layers with weights alone in integers compute in float32. 4-bit matrix products unpack them block by block in every run, "
    "faster at batch 1 and slower at a few samples; the others unpack them once, at load, and run like float32.",
}


def onnxruntime(
    model: nn.Module,
    plan: Plan | None,
    folder: Path,
    *,
    grids: Mapping[str, Tensor] = NO_GRIDS,
    example: Batch,
    calibration: Batch,
    signature: Signature,
    batch_sizes: tuple[int, ...] = (),  # noqa: ARG001 (the graph takes any)
) -> Lowered:
    """Write model.onnx into `folder`.

    Without a plan: the float32 graph. Layer by layer, by the plan's entry: static and dynamic ones compute in int8 (see
    onnx_int8.py), `weights` and `half` ones store smaller constants (onnx_weights.py) and compute in float32.
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html

    Raises:
        StageError: the model cannot be exported, or the graph does not do what the plan says.
    """
    exported = export_onnx(model, example, signature)
    before, plain = operations(exported.graph), slim(exported)
    lowered, notes = (exported, ()) if plan is None else lower(exported, model, plan, grids, calibration)
    final = slim(lowered)
    onnx.save(final, folder / MODEL)
    return Lowered(
        precision="float32" if plan is None else smallest_precision(plan),
        computes=arithmetic_of(plan),
        layers=() if plan is None else stored_layers(lowered.graph, plan),
        weight_bytes=constant_bytes(final.graph),
        float32_weight_bytes=constant_bytes(plain.graph),
        float32_bytes=plain.ByteSize(),
        operations_before=before,
        operations_after=optimised_operations(final),
        notes=notes,
    )


def lower(
    exported: onnx.ModelProto, model: nn.Module, plan: Plan, grids: Mapping[str, Tensor], calibration: Batch
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy of the graph as planned, in 7 bits where 8 would saturate on this CPU, and what a reader of the page has to know of it."""
    lowered = _lower(exported, model, plan, grids, calibration, in_seven_bits=False)
    if not saturates(lowered.graph):
        return lowered, notes_on(plan)
    return _lower(exported, model, plan, grids, calibration, in_seven_bits=True), (*notes_on(plan), STORED_IN_SEVEN_BITS)


def _lower(
    exported: onnx.ModelProto, model: nn.Module, plan: Plan, grids: Mapping[str, Tensor], calibration: Batch, *, in_seven_bits: bool
) -> onnx.ModelProto:
    """Int8 layers first; ONNX Runtime's quantizer leaves the others alone, whose constants are then made smaller."""
    lowered = onnx.ModelProto()
    lowered.CopyFrom(exported)
    by_token = token_ranged(plan, grids)
    others = {**plan, "layers": {name: entry for name, entry in plan["layers"].items() if name not in by_token}}
    if layers_of_kind(others, "static", "dynamic"):
        lowered = quantize_int8(lowered, others, calibration, in_seven_bits=in_seven_bits)
    range_tokens(lowered, model, plan, grids, in_seven_bits=in_seven_bits)
    return store_weights(lowered, model, plan, grids)


def notes_on(plan: Plan) -> tuple[str, ...]:
    """What a reader of the page has to know of how the plan runs here."""
    unpacked = [text for way, text in UNPACKED.items() if weighted_of_kind(plan, way)]  # type: ignore[arg-type]
    if computes_in_int8(plan):
        unpacked = [BLOCKWISE]
    return *unpacked, *((RANGED,) if recurrent_of_kind(plan, "static") else ())


def arithmetic_of(plan: Plan | None) -> str:
    """The arithmetic of the layers: 16-bit weights are unpacked, and so are integer ones whose inputs stay in float."""
    int8 = ("static", "dynamic", "weights") if plan is not None and computes_in_int8(plan) else ("static", "dynamic")
    kinds = {} if plan is None else {name: kind(entry) for name, entry in plan["layers"].items() if entry["type"] != TABLE}
    return arithmetic("int8" if found in int8 else "float32" for found in kinds.values())


def optimised_operations(graph_model: onnx.ModelProto) -> dict[str, int]:
    """The node types that ONNX Runtime really runs on this machine, after its extended optimisations."""
    with tempfile.TemporaryDirectory(prefix="slimline-") as place:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(place) / "optimised.onnx")
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        multiply_exactly(options)
        ort.InferenceSession(graph_model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return operations(onnx.load(options.optimized_model_filepath).graph)
