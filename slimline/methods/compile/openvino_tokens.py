"""Int8 products in an OpenVINO graph whose inputs have a range for each token."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from slimline.methods.compile.integer_weights import IntegerWeight, token_weight
from slimline.methods.compile.openvino_edits import put_in_place
from slimline.methods.compile.openvino_graph import layer_operations
from slimline.methods.compile.openvino_integers import oriented
from slimline.methods.compile.saturation import sums_saturate
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.methods.quantize.plan import Plan, weighted_layers
from slimline.methods.quantize.token_ranges import LARGEST_LEVEL, SMALLEST_SPAN, TokenRange, token_range, token_ranged

switch_off_telemetry()
import openvino as ov  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

LAST = np.array([-1], np.int64)


def range_tokens(graph: ov.Model, model: nn.Module, plan: Plan, grids: Mapping[str, Tensor]) -> None:
    """Let the planned layers multiply in int8 with a range for each token, in place.

    Rows are divided by their spans before a FakeQuantize of fixed ends, which OpenVINO lowers to its kernels for U8 and S8, and products
    multiplied by them. Its own ranges while running have groups of inputs, which are summed apart: on a core with AMX 2048 rows of 384
    by 1536 took 7.0 ms so, about 3 ms in this way and 14.7 ms in float32.

    Raises:
        StageError: the graph's weight is not that of the model's layer.
    """
    layers, levels, rounded = weighted_layers(model), dict[str, Any](), dict[tuple[Any, ...], tuple[Any, Any]]()
    for layer, operation in list(layer_operations(graph, token_ranged(plan, grids))):
        constant, chosen = operation.input_value(1).get_node(), token_range(grids, layer)
        if constant.get_type_name() != "Constant" or chosen is None:
            continue
        weight = token_weight(layers[layer].weight, grids[f"{layer}.scale"], chosen.scale, oriented(operation, constant.data))
        if sums_saturate():
            weight = weight.in_seven_bits()
        source = operation.input_value(0)
        key = source.get_node().get_name(), source.get_index(), chosen.zero_point, chosen.scale.numpy().tobytes()
        if key not in rounded:
            rounded[key] = _rounded(source, chosen)
        _replace(operation, weight, levels.setdefault(layer, _constant(weight)), *rounded[key])


def _rounded(source: Any, chosen: TokenRange) -> tuple[Any, Any]:
    """The rows of an input on the levels of their spans, and these; a span is counted up to the highest level here, which is then 1."""
    low, high = chosen.ends
    smooth = ops.divide(source, ops.convert(ops.constant(chosen.scale.half().numpy()), "f32"))
    lowest = ops.multiply(ops.reduce_min(smooth, ops.constant(LAST), True), ops.constant(np.float32(high / low)))
    highest = ops.maximum(ops.reduce_max(smooth, ops.constant(LAST), True), ops.constant(np.float32(SMALLEST_SPAN)))
    span = ops.maximum(highest, lowest)
    ends = [ops.constant(np.float32(end)) for end in (low / high, 1, low / high, 1)]
    return ops.fake_quantize(ops.divide(smooth, span), *ends, LARGEST_LEVEL + 1), span


def _constant(weight: IntegerWeight) -> Any:
    """The levels [outputs, inputs], once for all the operations of a layer."""
    return ops.constant(weight.levels.reshape(len(weight.levels), -1), dtype=ov.Type.i8)


def _replace(operation: Any, weight: IntegerWeight, levels: Any, rounded: Any, span: Any) -> None:
    unpacked = ops.multiply(ops.convert(levels, "f32"), ops.constant(weight.scale))
    product = ops.matmul(rounded, unpacked, False, True)
    put_in_place(operation, ops.multiply(product, span), product)
