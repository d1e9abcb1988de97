"""Compile for OpenVINO: an IR with int8 or 16-bit weights where planned, and the arithmetic stated."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx
from torch import Tensor, nn

from slimline.artifact.variant import NO_GRIDS
from slimline.data.batch import Batch
from slimline.data.signature import Signature
from slimline.errors import MachineError
from slimline.methods.compile.lowered import Lowered, arithmetic
from slimline.methods.compile.onnx_graph import export_onnx, operations
from slimline.methods.compile.openvino_attention import fuse_attention
from slimline.methods.compile.openvino_graph import name_apart, name_scaled, stored_layers
from slimline.methods.compile.openvino_int8 import quantize_int8
from slimline.methods.compile.openvino_ir import slim_ir
from slimline.methods.compile.openvino_recurrent import name_recurrent, store_recurrent
from slimline.methods.compile.openvino_seven_bits import STORED_IN_SEVEN_BITS, saturating_layers
from slimline.methods.compile.openvino_tokens import range_tokens
from slimline.methods.compile.openvino_weights import store_weights
from slimline.methods.compile.signal_stack import kept_signal_stack
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.methods.quantize.plan import Plan, computes_in_int8, layers_of_kind, recurrent_of_kind, smallest_precision, weighted_of_kind

switch_off_telemetry()
import openvino as ov  # noqa: E402

MODEL = "model.xml"
COMPUTING = ("Convolution", "FullyConnected", "MatMul", "RNNSeq", "RNNCell")
UNPACKED_RECURRENT = (
    "LSTM and GRU layers without a planned range unpack their int8 weights at load and compute in float32: fewer bytes, no speed; "
    "method static computes an LSTM in int8."
)
HINTS = {"bfloat16": ("bf16", "BF16"), "float16": ("f16", "FP16")}
PACKED = ("i8", "u8", "i4", "u4")
RUN_AS = {"i8": "int8", "u8": "int8", "i4": "float32", "u4": "float32", "bf16": "bfloat16", "f16": "float16", "f32": "float32"}


def openvino(
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
    """Write model.xml and model.bin into `folder`.

    Without a plan: float32, and forced to be computed so. Layer by layer, by the plan's entry: static ones are NNCF's int8 with
    the plan's input ranges; dynamic ones store int8 weights, and OpenVINO computes Linear layers in int8 with run-time ranges
    where it can; `weights` ones are unpacked; `half` ones store 16-bit weights. 16-bit arithmetic is asked for where the CPU
    has it and no layer is to stay in float32; else the remainder is float32.
    https://docs.openvino.ai/2026/openvino-workflow/model-optimization.html

    Raises:
        StageError: the model cannot be exported.
    """
    exported = export_onnx(model, example, signature)
    plain = _converted(exported)
    lowered = plain if plan is None else lower(_converted(exported), model, plan, grids, calibration)
    attends = [fuse_attention(graph) for graph in {id(plain): plain, id(lowered): lowered}.values()][-1] > 0
    stored = () if plan is None else stored_layers(lowered, plan)
    execution = execution_of(plan)
    _save(lowered, folder / MODEL)
    executed = executed_operations(folder / MODEL, execution)
    float32_graph, float32_weights = _saved_bytes(plain)
    return Lowered(
        precision="float32" if plan is None else smallest_precision(plan),
        computes=arithmetic_of(executed, plan, (execution["INFERENCE_PRECISION_HINT"],) if attends else ()),
        execution=execution,
        layers=stored,
        weight_bytes=(folder / MODEL).with_suffix(".bin").stat().st_size,
        float32_weight_bytes=float32_weights,
        float32_bytes=float32_graph + float32_weights,
        operations_before=operations(exported.graph),
        operations_after=executed,
        notes=(*notes_on(plan, execution), *([STORED_IN_SEVEN_BITS] if plan is not None and saturating_layers(plan, grids) else [])),
    )


def lower(graph: ov.Model, model: nn.Module, plan: Plan, grids: Mapping[str, Tensor], calibration: Batch) -> ov.Model:
    """The graph with its weights, and where the plan says so its inputs, in the plan's precisions."""
    name_recurrent(graph, model)
    name_scaled(graph, model)
    lowered = quantize_int8(graph, plan, calibration) if weighted_of_kind(plan, "static") else graph
    store_recurrent(lowered, plan)
    range_tokens(lowered, model, plan, grids)
    return store_weights(lowered, model, plan, grids)


def _converted(exported: onnx.ModelProto) -> ov.Model:
    with tempfile.TemporaryDirectory(prefix="slimline-") as place:
        onnx.save(exported, Path(place) / "float.onnx")
        graph = ov.convert_model(Path(place) / "float.onnx")
    name_apart(graph, [one.name for one in exported.graph.input])
    return graph


def execution_of(plan: Plan | None) -> dict[str, str]:
    """The plugin's settings: one stream, lowest latency, and never a precision that nobody asked for."""
    settings = {"INFERENCE_PRECISION_HINT": _hint(plan), "NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"}
    if plan is None or not layers_of_kind(plan, "dynamic", "weights"):
        return settings
    is_int8 = layers_of_kind(plan, "dynamic") or computes_in_int8(plan)
    return settings | {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "32" if is_int8 else "0"}


@kept_signal_stack()
def _hint(plan: Plan | None) -> str:
    """f32, unless the plan has 16-bit layers or asks for 16 bits beside int8, no layer is to stay float32, and the CPU has that type."""
    halves = layers_of_kind(plan, "half") if plan else ()
    if plan is None or not (halves or plan["dtype"]) or layers_of_kind(plan, "float"):
        return "f32"
    wanted, capability = HINTS[plan["layers"][halves[0]]["precision"] if halves else plan["dtype"]]
    return wanted if capability in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def arithmetic_of(executed: dict[str, int], plan: Plan | None, attention: Iterable[str] = ()) -> str:
    """The types in which the plugin runs convolutions, matrix products and recurrent layers, and `attention`, which it lists as no product.

    Of a matrix product with packed weights it tells the type of these; where no layer's inputs are rounded, it computes in float.
    """
    used = {*attention, *(name.split()[1] for name in executed if name.split()[0] in COMPUTING)}
    is_float = plan is None or not (layers_of_kind(plan, "static", "dynamic") or computes_in_int8(plan))
    in_int8 = plan is not None and computes_in_int8(plan)
    return arithmetic("float32" if is_float and kind in PACKED else "int8" if in_int8 and kind in PACKED else RUN_AS[kind] for kind in used)


def notes_on(plan: Plan | None, execution: dict[str, str]) -> tuple[str, ...]:
    """What a reader of the page has to know of how the plan runs here."""
    notes: list[str] = []
    if plan is not None and layers_of_kind(plan, "half") and execution["INFERENCE_PRECISION_HINT"] == "f32":
        notes.append(
            "16-bit weights are unpacked at load, the arithmetic is float32: no such kernels here, or a layer has to stay in float32."
        )
    if plan is not None and plan["method"] == "dynamic" and plan["dtype"] and execution["INFERENCE_PRECISION_HINT"] == "f32":
        notes.append(f"All that is not int8 computes in float32: no {plan['dtype']} kernels here, or a layer has to stay in float32.")
    if plan is not None and computes_in_int8(plan):
        notes.append("Matrix products read weights as they are stored, and may round their inputs to int8 while running, in groups of 32.")
    elif plan is not None and weighted_of_kind(plan, "weights"):
        notes.append(
            "Layers with weights alone in integers compute in float: matrix products unpack them in every run, convolutions at load."
        )
    if plan is not None and layers_of_kind(plan, "dynamic"):
        notes.append("The inputs of dynamic layers are ranged by OpenVINO while it runs, where it has kernels for it.")
    if plan is not None and recurrent_of_kind(plan, "dynamic", "weights"):
        notes.append(UNPACKED_RECURRENT)
    return tuple(notes)


def _save(model: ov.Model, path: Path) -> None:
    serialised(model, path)
    slim_ir(path)


def serialised(model: ov.Model, path: Path) -> None:
    """Write an IR as OpenVINO does.

    Raises:
        MachineError: the disk is full.
    """
    try:
        ov.serialize(model, path, path.with_suffix(".bin"))
    except RuntimeError as error:
        free = shutil.disk_usage(path.parent).free
        raise MachineError(f"compile: OpenVINO could not write {path.name} ({error}); {free:,} bytes are free on its disk") from error


def _saved_bytes(model: ov.Model) -> tuple[int, int]:
    """What a model takes on disk: the graph's description and its constants."""
    with tempfile.TemporaryDirectory(prefix="slimline-") as place:
        path = Path(place) / MODEL
        _save(model, path)
        return path.stat().st_size, path.with_suffix(".bin").stat().st_size


@kept_signal_stack()
def executed_operations(path: Path, execution: dict[str, str]) -> dict[str, int]:
    """What the CPU plugin really runs on this machine: "type precision" -> count, constants left out.

    In two threads: in one a gated MLP in bfloat16 ends the process (slimline/loaders/openvino.py), and the operations are the same.
    """
    graph = ov.Core().compile_model(path, "CPU", execution | {"INFERENCE_NUM_THREADS": "2"}).get_runtime_model()
    found: Counter[str] = Counter()
    for operation in graph.get_ops():
        details = operation.get_rt_info()
        kind, precision = (details[key].astype(str) for key in ("layerType", "runtimePrecision"))
        found[f"{kind} {precision}"] += kind not in ("Input", "Const", "Output")
    return dict(sorted((+found).items()))
