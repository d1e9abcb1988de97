"""Smaller weights in an OpenVINO graph: int8 and 16-bit constants, unpacked when the model is loaded."""

from collections.abc import Mapping

from torch import Tensor

from slimline.methods.compile.openvino_graph import TYPES, layer_operations
from slimline.methods.compile.openvino_int8 import compress_int8
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.methods.quantize.plan import Plan, layers_of_kind

switch_off_telemetry()
import openvino as ov  # noqa: E402


def store_weights(model: ov.Model, plan: Plan, grids: Mapping[str, Tensor]) -> ov.Model:  # noqa: ARG001 (int4 will read it)
    """The model with the weights of the plan's `weights`, `dynamic` and `half` layers stored in their precision."""
    if integers := layers_of_kind(plan, "weights", "dynamic"):
        model = compress_int8(model, integers)
    for layer, operation in layer_operations(model, layers_of_kind(plan, "half")):
        constant = operation.input_value(1).get_node()
        if constant.get_type_name() == "Constant":
            small = ov.opset13.constant(constant.data, dtype=TYPES[plan["layers"][layer]["precision"]])
            operation.input(1).replace_source_output(ov.opset13.convert(small, "f32").output(0))
    return model
