"""Smaller weights in an ONNX graph that computes in float: integers and 16-bit constants."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from slimline.methods.compile.integer_weights import IntegerWeight, integer_weight
from slimline.methods.compile.onnx_graph import initializers, layer_nodes, layer_of, producers, replace_initializer
from slimline.methods.compile.onnx_integers import AS_MATMUL, NBITS, exported_weight, is_packed, store_integers, weight_name
from slimline.methods.compile.onnx_recurrent import store_recurrent, stored_recurrent
from slimline.methods.compile.onnx_tables import store_tables, stored_tables
from slimline.methods.quantize.plan import Plan, computes_in_int8, stored_precision, weighted_layers, weighted_of_kind
from slimline.methods.quantize.weights import stored_grid

UNPACKING = ("Reshape", "Transpose", "Mul", "Sub", "Cast", "DequantizeLinear")
TYPES = {
    ("int8", True): TensorProto.INT8,
    ("int8", False): TensorProto.UINT8,
    ("int4", True): TensorProto.INT4,
    ("int4", False): TensorProto.UINT4,
    ("float16", None): TensorProto.FLOAT16,
    ("bfloat16", None): TensorProto.BFLOAT16,
}


def store_weights(graph_model: onnx.ModelProto, model: nn.Module, plan: Plan, grids: Mapping[str, Tensor]) -> onnx.ModelProto:
    """A copy of the graph with the weights of the plan's `weights` and `half` layers stored in their precision.

    Raises:
        StageError: the graph's weight is not that of the model's layer.
    """
    small = store_integers(graph_model, _integers(graph_model.graph, model, plan, grids), in_int8=computes_in_int8(plan))
    for layer in weighted_of_kind(plan, "half"):
        for name in _constants(small.graph, layer):
            _as_sixteen_bit(small.graph, name, plan["layers"][layer]["precision"])
    store_tables(small, model, plan, grids)
    store_recurrent(small.graph, plan)
    return small


def stored_layers(graph: onnx.GraphProto, plan: Plan) -> tuple[str, ...]:
    """The plan's layers whose weights really are of the planned type in the graph, in the plan's order."""
    stored, weighted = stored_recurrent(graph, plan), set(weighted_of_kind(plan, "static", "dynamic", "weights", "half"))
    for node in graph.node:
        layer = layer_of(node.name).removesuffix("_quant").removesuffix(AS_MATMUL)
        if len(node.input) > 1 and layer in weighted and _is_stored(graph, node, plan["layers"][layer]):
            stored.add(layer)
    stored |= stored_tables(graph, plan)
    return tuple(name for name in plan["layers"] if name in stored)


def _integers(graph: onnx.GraphProto, model: nn.Module, plan: Plan, grids: Mapping[str, Tensor]) -> dict[str, IntegerWeight]:
    layers, found = weighted_layers(model), {}
    wanted = set(weighted_of_kind(plan, "weights"))
    for node in graph.node:
        layer = layer_of(node.name).removesuffix(AS_MATMUL)
        exported = exported_weight(graph, node) if layer in wanted else None
        if exported is not None:
            entry = plan["layers"][layer]
            grid = stored_grid(grids, layer, entry)
            found[node.name] = integer_weight(layers[layer].weight, entry, grid, exported.astype(np.float32, copy=False))
    return found


def _is_stored(graph: onnx.GraphProto, node: onnx.NodeProto, entry: Mapping[str, Any]) -> bool:
    constants, made_by, name = initializers(graph), producers(graph), node.input[1]
    if node.op_type == NBITS:
        return is_packed(node, constants[name], entry["precision"])
    while name in made_by and made_by[name].op_type in UNPACKING:
        name = made_by[name].input[0]
    return name in constants and constants[name].data_type == TYPES.get((stored_precision(entry["precision"]), entry["symmetric"]))


def _constants(graph: onnx.GraphProto, layer: str) -> list[str]:
    return sorted({name for node in layer_nodes(graph, (layer,)).values() if (name := weight_name(graph, node))})


def _as_sixteen_bit(graph: onnx.GraphProto, name: str, dtype: str) -> None:
    tensor = initializers(graph)[name]
    kind = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}[dtype]
    value = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(kind))
    cast = helper.make_node("Cast", [f"{name}_16"], [name], to=TensorProto.FLOAT)
    replace_initializer(graph, name, {f"{name}_16": value}, cast)
