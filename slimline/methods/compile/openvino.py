"""Compile for OpenVINO: a slim IR, quantized by NNCF where planned, with the precision of its arithmetic stated."""

import contextlib
import io
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from slimline.errors import StageError
from slimline.methods.compile.ir import slim_ir
from slimline.methods.compile.lowered import Lowered
from slimline.methods.compile.onnx_graph import export_onnx, layer_of, operations
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.methods.quantize.plan import Plan, planned

switch_off_telemetry()
import nncf  # noqa: E402
import openvino as ov  # noqa: E402
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix  # noqa: E402
from nncf.quantization.range_estimator import RangeEstimatorParametersSet  # noqa: E402

MODEL = "model.xml"
BATCH_SIZE = 32
WEIGHTED_OPS = ("Convolution", "GroupConvolution", "MatMul")
PASSED = ("Reshape", "Transpose", "Convert", "Multiply", "Subtract", "Squeeze", "Unsqueeze")
HINTS = {"bfloat16": ("bf16", "BF16"), "float16": ("f16", "FP16")}
RUN_AS = {"i8": "int8", "u8": "int8", "bf16": "bfloat16", "f16": "float16", "f32": "float32"}
TYPES = {"int8": ov.Type.i8, "bfloat16": ov.Type.bf16, "float16": ov.Type.f16}


def openvino(model: nn.Module, plan: Plan | None, folder: Path, *, example_input: Tensor, calibration: Tensor) -> Lowered:
    """Write model.xml and model.bin into `folder`.

    Without a plan: float32, and forced to be computed so. static: NNCF's int8 with the plan's input ranges and the source's
    biases, its remainder in float32 (NNCF's fast bias correction is off: it takes an image for its channel means, and on
    small padded ones costs 10 to 20 dB). dynamic: NNCF's int8 weights, whose Linear layers OpenVINO computes in int8 with
    run-time ranges where it can. half: 16-bit weights, computed in that type where this CPU has it, else in float32.
    https://docs.openvino.ai/2026/openvino-workflow/model-optimization.html

    Raises:
        StageError: the model cannot be exported.
    """
    exported = export_onnx(model, example_input)
    plain = _converted(exported)
    with _quiet():
        lowered = _LOWERINGS[plan["method"]](_converted(exported), plan, calibration) if plan else plain
    stored = _stored_layers(lowered, plan) if plan else ()
    execution = _execution(plan)
    _save(lowered, folder / MODEL)
    executed = _executed(folder / MODEL, execution)
    float32_graph, float32_weights = _saved_bytes(plain)
    return Lowered(
        precision="float32" if plan is None else plan["dtype"] or "int8",
        computes=_computes(executed),
        execution=execution,
        layers=stored,
        weight_bytes=(folder / MODEL).with_suffix(".bin").stat().st_size,
        float32_weight_bytes=float32_weights,
        float32_bytes=float32_graph + float32_weights,
        operations_before=operations(exported.graph),
        operations_after=executed,
        notes=_notes(plan, execution),
    )


def _converted(exported: onnx.ModelProto) -> ov.Model:
    with tempfile.TemporaryDirectory(prefix="slimline-") as place:
        onnx.save(exported, Path(place) / "float.onnx")
        return ov.convert_model(Path(place) / "float.onnx")


def _execution(plan: Plan | None) -> dict[str, str]:
    """The plugin's settings: one stream, lowest latency, and never a precision that nobody asked for."""
    hint = "f32"
    if plan is not None and plan["method"] == "half":
        wanted, capability = HINTS[plan["dtype"]]
        hint = wanted if capability in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
    settings = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"}
    return settings | ({"DYNAMIC_QUANTIZATION_GROUP_SIZE": "32"} if plan is not None and plan["method"] == "dynamic" else {})


def _computes(executed: dict[str, int]) -> str:
    """The types in which the plugin runs convolutions and matrix products."""
    used = {name.split()[1] for name in executed if name.split()[0] in ("Convolution", "FullyConnected", "MatMul")}
    return "+".join(dict.fromkeys(RUN_AS[kind] for kind in sorted(used))) or "float32"


def _notes(plan: Plan | None, execution: dict[str, str]) -> tuple[str, ...]:
    if plan is not None and plan["method"] == "half" and execution["INFERENCE_PRECISION_HINT"] == "f32":
        return (f"This CPU has no {plan['dtype']} arithmetic: the weights are unpacked at load, the arithmetic is float32.",)
    if plan is not None and plan["method"] == "dynamic":
        return ("Convolutions store int8 weights, unpacked at load, and compute in float32; Linear layers are left to OpenVINO.",)
    return ()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back NNCF's progress bars and statistics; its warnings pass."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _static(model: ov.Model, plan: Plan, calibration: Tensor) -> ov.Model:
    batches = [batch.numpy() for batch in torch.split(calibration, BATCH_SIZE)]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(batches),
        subset_size=len(batches),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=_float_names(model, plan), validate=False),
        advanced_parameters=AdvancedQuantizationParameters(
            overflow_fix=OverflowFix.DISABLE,
            disable_bias_correction=True,
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        ),
    )
    for layer, operation in _layer_operations(quantized, plan):
        if plan["layers"][layer]["precision"] == "int8":
            _set_range(operation, *plan["layers"][layer]["input_range"])
    return quantized


def _dynamic(model: ov.Model, plan: Plan, calibration: Tensor) -> ov.Model:  # noqa: ARG001 (uniform signature)
    scope = nncf.IgnoredScope(names=_float_names(model, plan), validate=False)
    return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=scope)


def _half(model: ov.Model, plan: Plan, calibration: Tensor) -> ov.Model:  # noqa: ARG001 (uniform signature)
    wanted, element_type = set(planned(plan, plan["dtype"])), TYPES[plan["dtype"]]
    for layer, operation in _layer_operations(model, plan):
        constant = operation.input_value(1).get_node()
        if layer in wanted and constant.get_type_name() == "Constant":
            small = ov.opset13.constant(constant.data, dtype=element_type)
            operation.input(1).replace_source_output(ov.opset13.convert(small, "f32").output(0))
    return model


_LOWERINGS: dict[str, Callable[[ov.Model, Plan, Tensor], ov.Model]] = {"static": _static, "dynamic": _dynamic, "half": _half}


def _layer_operations(model: ov.Model, plan: Plan) -> Iterator[tuple[str, Any]]:
    """The operations with a layer's weight: (layer, operation)."""
    for operation in model.get_ordered_ops():
        layer = layer_of(operation.get_friendly_name().removesuffix("/WithoutBiases"))
        if operation.get_type_name() in WEIGHTED_OPS and layer in plan["layers"]:
            yield layer, operation


def _float_names(model: ov.Model, plan: Plan) -> list[str]:
    """Convolutions and matrix products that stay in float: those the plan keeps, and those that are no layer of it."""
    quantized = {operation.get_friendly_name() for layer, operation in _layer_operations(model, plan) if layer in planned(plan, "int8")}
    found = [operation.get_friendly_name() for operation in model.get_ordered_ops() if operation.get_type_name() in WEIGHTED_OPS]
    return [name for name in found if name not in quantized]


def _set_range(operation: Any, low: float, high: float) -> None:
    """Give the FakeQuantize before an operation the planned range."""
    source = operation.input_value(0).get_node()
    while source.get_type_name() in PASSED[:2]:
        source = source.input_value(0).get_node()
    if source.get_type_name() != "FakeQuantize":
        return
    for index in range(1, 5):
        shape = list(source.input(index).get_shape())
        value = np.full(shape, (low, high)[(index - 1) % 2], np.float32)
        source.input(index).replace_source_output(ov.opset13.constant(value).output(0))


def _stored_layers(model: ov.Model, plan: Plan) -> tuple[str, ...]:
    """The plan's layers whose weights really are constants of the planned type, in the plan's order."""
    stored = set()
    for layer, operation in _layer_operations(model, plan):
        source = operation.input_value(1).get_node()
        while source.get_type_name() in PASSED:
            source = source.input_value(0).get_node()
        if source.get_type_name() == "Constant" and source.get_element_type() == TYPES.get(plan["layers"][layer]["precision"]):
            stored.add(layer)
    return tuple(name for name in plan["layers"] if name in stored)


def _save(model: ov.Model, path: Path) -> None:
    try:
        ov.serialize(model, path, path.with_suffix(".bin"))
    except RuntimeError as error:
        free = shutil.disk_usage(path.parent).free
        raise StageError(f"compile: OpenVINO could not write {path.name} ({error}); {free:,} bytes are free on its disk") from error
    slim_ir(path)


def _saved_bytes(model: ov.Model) -> tuple[int, int]:
    """What a model takes on disk: the graph's description and its constants."""
    with tempfile.TemporaryDirectory(prefix="slimline-") as place:
        path = Path(place) / MODEL
        _save(model, path)
        return path.stat().st_size, path.with_suffix(".bin").stat().st_size


def _executed(path: Path, execution: dict[str, str]) -> dict[str, int]:
    """What the CPU plugin really runs on this machine: "type precision" -> count, constants left out."""
    graph = ov.Core().compile_model(path, "CPU", execution | {"INFERENCE_NUM_THREADS": "1"}).get_runtime_model()
    found: Counter[str] = Counter()
    for operation in graph.get_ops():
        details = operation.get_rt_info()
        kind, precision = (details[key].astype(str) for key in ("layerType", "runtimePrecision"))
        found[f"{kind} {precision}"] += kind not in ("Input", "Const", "Output")
    return dict(sorted((+found).items()))
