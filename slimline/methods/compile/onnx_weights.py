"""Smaller weights in an ONNX graph that computes in float: int8 and 16-bit constants, unpacked when the model is loaded."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from slimline.methods.compile.onnx_graph import initializers, layer_nodes, layer_of, producers, replace_initializer
from slimline.methods.quantize.plan import Plan, layers_of_kind

TYPES = {
    "int8": TensorProto.INT8,
    "int4": TensorProto.INT4,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
}


def store_weights(graph: onnx.GraphProto, plan: Plan, grids: Mapping[str, Tensor]) -> None:  # noqa: ARG001 (int4 will read it)
    """Store the weights of the plan's `weights` and `half` layers in their precision, in place; the graph unpacks them."""
    for layer in layers_of_kind(plan, "weights", "half"):
        entry = plan["layers"][layer]
        for name in _constants(graph, layer):
            if entry["precision"] == "int8":
                _as_int8(graph, name)
            else:
                _as_sixteen_bit(graph, name, entry["precision"])


def stored_layers(graph: onnx.GraphProto, plan: Plan) -> tuple[str, ...]:
    """The plan's layers whose weights really are of the planned type in the graph, in the plan's order."""
    constants, made_by = initializers(graph), producers(graph)
    stored = set()
    for node in graph.node:
        layer = layer_of(node.name).removesuffix("_quant").removesuffix("_MatMul")
        weight = node.input[1] if len(node.input) > 1 and layer in plan["layers"] else ""
        unpacked = made_by.get(weight)
        name = weight if unpacked is None else unpacked.input[0]
        if name in constants and constants[name].data_type == TYPES.get(plan["layers"][layer]["precision"]):
            stored.add(layer)
    return tuple(name for name in plan["layers"] if name in stored)


def _constants(graph: onnx.GraphProto, layer: str) -> list[str]:
    constants = initializers(graph)
    return sorted({node.input[1] for node in layer_nodes(graph, (layer,)).values()} & constants.keys())


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
