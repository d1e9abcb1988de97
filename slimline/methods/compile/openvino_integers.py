"""Integer weights in an OpenVINO graph, in the pattern that its CPU plugin takes for compressed weights."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from slimline.methods.compile.integer_weights import IntegerWeight
from slimline.methods.compile.openvino_edits import UNPACKING, put_in_place, source_beyond
from slimline.methods.compile.telemetry import switch_off_telemetry

switch_off_telemetry()
import openvino as ov  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

SIGNED = {8: ov.Type.i8, 4: ov.Type.i4}
UNSIGNED = {8: ov.Type.u8, 4: ov.Type.u4}


def store_integers(placed: Iterable[tuple[Any, IntegerWeight]]) -> None:
    """Let each operation read its weight as integers, in place: Constant -> Convert (-> Subtract) -> Multiply (-> Reshape).

    OpenVINO's FullyConnected keeps such a constant packed in memory and unpacks it while it multiplies, fractional zero points
    (HQQ's) included; a convolution unpacks it when the model is compiled.
    https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/weight-compression.html
    """
    for operation, weight in placed:
        operation.input(1).replace_source_output(_unpacking(operation, weight))


def store_table(operation: Any, weight: IntegerWeight, head: Any | None) -> None:
    """Let a look-up read its rows as integers, in place; the unpacking of a `head` that reads the same weight serves it as well."""
    if head is not None:
        source = head.input_value(1)
        turned = source.get_node().get_type_name() == "Transpose"
        operation.input(0).replace_source_output(source.get_node().input_value(0) if turned else source)
    else:
        operation.input(0).replace_source_output(_unpacking_as(weight, list(operation.input(0).get_shape())))


def store_table_apart(operation: Any, weight: IntegerWeight, head: Any | None) -> None:
    """Let a look-up take integer rows and their scales and unpack these, in place; a `head` of the same weight shares the constant.

    Beside a FakeQuantize OpenVINO unpacks the constant of any other look-up, and of the head with it, when it loads the graph.
    """
    if head is None:
        constant = ops.constant(weight.levels.reshape(len(weight.levels), -1), dtype=SIGNED[weight.bits])
    else:
        constant = source_beyond(head.input_value(1), UNPACKING)
    places = operation.input_value(1), operation.input_value(2)
    rows, scales = ops.gather(constant, *places), ops.gather(ops.constant(weight.scale), *places)
    put_in_place(operation, ops.multiply(ops.convert(rows, "f32"), scales), rows)


def oriented(operation: Any, value: np.ndarray) -> np.ndarray:
    """The weight that an operation reads, turned to [outputs, …]: a MatMul may have it the other way, a grouped convolution split."""
    if operation.get_type_name() == "GroupConvolution":
        return value.reshape(-1, *value.shape[2:])
    return value.T if _is_turned(operation) else value


def _is_turned(operation: Any) -> bool:
    return operation.get_type_name() == "MatMul" and not operation.get_attributes()["transpose_b"]


def _unpacking(operation: Any, weight: IntegerWeight) -> Any:
    shape = list(operation.input(1).get_shape())
    made = _unpacking_as(
        weight, shape[::-1] if _is_turned(operation) else shape, split=2 if operation.get_type_name() == "GroupConvolution" else 1
    )
    if _is_turned(operation):
        made = ops.transpose(made, ops.constant(np.array([1, 0], np.int64))).output(0)
    return made


def _unpacking_as(weight: IntegerWeight, plain: list[int], split: int = 1) -> Any:
    """What makes a float32 constant of the shape `plain` of integers; its outputs are the first `split` axes."""
    is_grouped = weight.scale.shape[1] > 1
    stored = list(weight.levels.shape) if is_grouped else plain
    beside = [*weight.scale.shape, 1] if is_grouped else [*plain[:split], *[1] * (len(plain) - split)]
    kinds = SIGNED if weight.zero_point is None else UNSIGNED
    made = ops.convert(ops.constant(weight.levels.reshape(stored), dtype=kinds[weight.bits]), "f32")
    if weight.zero_point is not None:
        made = ops.subtract(made, _zero_points(weight, beside))
    made = ops.multiply(made, ops.constant(weight.scale.reshape(beside)))
    if is_grouped:
        made = ops.reshape(made, ops.constant(np.array(plain, np.int64)), False)
    return made.output(0)


def _zero_points(weight: IntegerWeight, shape: list[int]) -> Any:
    zero_point = np.zeros(shape, np.float32) if weight.zero_point is None else weight.zero_point.reshape(shape)
    if weight.has_whole_zero_points:
        return ops.convert(ops.constant(zero_point.astype(np.uint8), dtype=UNSIGNED[weight.bits]), "f32")
    return ops.constant(zero_point)
