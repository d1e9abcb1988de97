"""LSTM and GRU layers in an ONNX graph: their matrices stored in fewer bits, and proof of how they are stored."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from slimline.methods.compile.onnx_graph import RECURRENT_OPS, initializers, layer_of, producers
from slimline.methods.quantize.plan import Plan, kind, recurrent_of_kind
from slimline.methods.quantize.weights import derived_grid, levels

DYNAMIC, QUANTIZED = "DynamicQuantizeLSTM", "_quant"
MATRICES = (1, 2)
"""Which inputs of these nodes are the matrices: [directions, gates x hidden, inputs] and [directions, gates x hidden, hidden]."""
UNPACKING = ("Cast", "Mul")
TYPES = {"int8": TensorProto.INT8, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}

Array = NDArray[np.generic]


def store_recurrent(graph: onnx.GraphProto, plan: Plan) -> None:
    """Store the matrices of the plan's `weights` and `half` recurrent layers in their precision, in place.

    Cast (and Mul) unpack them, which ONNX Runtime folds when it loads the graph: fewer bytes on disk, at float32's speed.
    The order of the gates is ONNX's; a scale for each row makes that no difference.
    """
    wanted = set(recurrent_of_kind(plan, "weights", "half"))
    for node in list(graph.node):
        layer = layer_of(node.name)
        if node.op_type in RECURRENT_OPS and layer in wanted:
            for name in sorted({node.input[index] for index in MATRICES} & initializers(graph).keys()):
                _store(graph, name, plan["layers"][layer])


def stored_recurrent(graph: onnx.GraphProto, plan: Plan) -> set[str]:
    """The plan's recurrent layers whose every matrix is of the planned type; int8 ones with int8 inputs by their own kernel."""
    constants, made_by = initializers(graph), producers(graph)

    def is_stored(layer: str) -> bool:
        entry = plan["layers"][layer]
        nodes = [node for node in graph.node if layer_of(node.name.removesuffix(QUANTIZED)) == layer]
        runs = [node for node in nodes if node.op_type == (DYNAMIC if kind(entry) in ("static", "dynamic") else entry["type"])]
        names = [_constant(node.input[index], made_by) for node in runs for index in MATRICES]
        return bool(names) and all(name in constants and constants[name].data_type == TYPES[entry["precision"]] for name in names)

    return {layer for layer in recurrent_of_kind(plan, "static", "dynamic", "weights", "half") if is_stored(layer)}


def _constant(name: str, made_by: Mapping[str, onnx.NodeProto]) -> str:
    while name in made_by and made_by[name].op_type in UNPACKING:
        name = made_by[name].input[0]
    return name


def _store(graph: onnx.GraphProto, name: str, entry: Mapping[str, Any]) -> None:
    value = numpy_helper.to_array(initializers(graph)[name])
    parts = {f"{name}_stored": value.astype(helper.tensor_dtype_to_np_dtype(TYPES[entry["precision"]]))}
    nodes = [helper.make_node("Cast", [f"{name}_stored"], [name], to=TensorProto.FLOAT)]
    if entry["precision"] == "int8":
        parts = dict(zip((f"{name}_stored", f"{name}_scale"), _packed(value, entry), strict=True))
        nodes[0].output[0] = f"{name}_levels"
        nodes.append(helper.make_node("Mul", [f"{name}_levels", f"{name}_scale"], [name]))
    graph.initializer.remove(initializers(graph)[name])
    graph.initializer.extend(numpy_helper.from_array(part, key) for key, part in parts.items())
    for index, node in enumerate(nodes):
        graph.node.insert(index, node)


def _packed(value: Array, entry: Mapping[str, Any]) -> tuple[Array, Array]:
    """A matrix [directions, rows, inputs] as int8 levels of that shape, and scales [directions, rows, 1]."""
    rows = torch.from_numpy(value.reshape(-1, value.shape[-1]).copy())
    scale, _ = derived_grid(rows, entry)
    return levels(rows, entry).numpy().reshape(value.shape), scale.numpy().reshape(*value.shape[:-1], 1)
