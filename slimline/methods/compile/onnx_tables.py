"""Embeddings in an ONNX graph as small integers or 16 bits: only the rows that are looked up are unpacked, in every run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from slimline.methods.compile.integer_weights import IntegerWeight, integer_weight
from slimline.methods.compile.onnx_graph import embedding_nodes, initializers, layer_of, producers
from slimline.methods.compile.onnx_integers import AS_MATMUL, MICROSOFT, NBITS, packed_levels
from slimline.methods.quantize.plan import Plan, kind, stored_bits, table_owners, tables, tables_of_kind
from slimline.methods.quantize.weights import stored_grid

LOOK_UP_NBITS = "GatherBlockQuantized"
TYPES = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
BEHIND = ("Gather", "Reshape", "Transpose", "Mul", "Sub", "Cast", "DequantizeLinear")
Array = NDArray[Any]


def store_tables(graph_model: onnx.ModelProto, model: nn.Module, plan: Plan, grids: Mapping[str, Tensor]) -> None:
    """Store the plan's embeddings in their precision, in place.

    Integers are looked up as they are, with their scales, and multiplied; 4-bit ones by com.microsoft's GatherBlockQuantized. A head
    that shares an embedding's weight and is MatMulNBits has its packed levels read by the embedding too: they are stored once.
    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GatherBlockQuantized
    """
    graph, embeddings, owners = graph_model.graph, tables(model), table_owners(model)
    for node in embedding_nodes(graph, tables_of_kind(plan, "weights", "half")).values():
        layer, constants = layer_of(node.name), initializers(graph)
        if node.input[0] not in constants:
            _look_up_dequantized(graph, node)  # a head that shares it has it stored already
            continue
        entry = plan["layers"][layer]
        if kind(entry) == "half":
            _look_up_sixteen_bit(graph, node, entry["precision"])
            continue
        exported = numpy_helper.to_array(constants[node.input[0]]).astype(np.float32, copy=False)
        weight = integer_weight(embeddings[layer].weight, entry, stored_grid(grids, layer, entry), exported)
        heads = [name for name, owner in owners.items() if owner == owners[layer]]
        packed = next((other for other in graph.node if other.op_type == NBITS and _layer(other) in heads), None)
        turned = _turned_levels(graph, weight) if len(heads) > 1 else None
        if turned is not None and (rank := _rank(graph, node.input[1])) is not None:
            _look_up_turned(graph, node, weight, turned, rank)
        else:
            _look_up(graph, node, weight, packed)
    _drop_unread(graph)
    if any(node.op_type == LOOK_UP_NBITS for node in graph.node) and MICROSOFT not in {one.domain for one in graph_model.opset_import}:
        graph_model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))


def stored_tables(graph: onnx.GraphProto, plan: Plan) -> set[str]:
    """The plan's embeddings whose constants really are of the planned type."""
    constants, made_by, found = initializers(graph), producers(graph), set()
    for node in graph.node:
        layer = layer_of(node.name)
        if layer not in tables_of_kind(plan, "weights", "half") or node.op_type not in ("Gather", LOOK_UP_NBITS):
            continue
        name, entry = node.input[0], plan["layers"][layer]
        while name in made_by and made_by[name].op_type in BEHIND:
            name = made_by[name].input[0]
        if name in constants and _bits(constants[name], node) == _planned_bits(entry["precision"]):
            found.add(layer)
    return found


def _planned_bits(precision: str) -> int:
    return 16 if precision in TYPES else stored_bits(precision)


def _bits(constant: onnx.TensorProto, node: onnx.NodeProto) -> int:
    if node.op_type == LOOK_UP_NBITS:
        return next(attribute.i for attribute in node.attribute if attribute.name == "bits")
    sizes = {TensorProto.FLOAT16: 16, TensorProto.BFLOAT16: 16, TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.FLOAT: 32}
    return sizes.get(constant.data_type, 8)


def _layer(node: onnx.NodeProto) -> str:
    return layer_of(node.name).removesuffix(AS_MATMUL)


def _look_up_sixteen_bit(graph: onnx.GraphProto, node: onnx.NodeProto, precision: str) -> None:
    name = node.input[0]
    small = numpy_helper.to_array(initializers(graph)[name]).astype(helper.tensor_dtype_to_np_dtype(TYPES[precision]))
    gathered = f"{node.output[0]}_16"
    look_up = helper.make_node("Gather", [f"{name}_16", node.input[1]], [gathered], name=node.name)
    cast = helper.make_node("Cast", [gathered], [node.output[0]], to=TensorProto.FLOAT)
    _put(graph, node, [look_up, cast], {f"{name}_16": small})


def _look_up_dequantized(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Look the rows up before they are dequantized, where a head's int8 weight is: DequantizeLinear would unpack them all in every run."""
    made_by, constants = producers(graph), initializers(graph)
    unpacking = made_by[node.input[0]]
    if unpacking.op_type != "DequantizeLinear" or unpacking.input[0] not in constants:
        return
    levels, scale = (numpy_helper.to_array(constants[name]) for name in unpacking.input[:2])
    if levels.dtype != np.int8 or scale.size != len(levels):
        return
    found, beside = f"{node.name}_found", f"{node.name}_scale"
    nodes = [
        helper.make_node("Gather", [unpacking.input[0], node.input[1]], [found], name=node.name),
        helper.make_node("Cast", [found], [f"{found}_cast"], to=TensorProto.FLOAT),
        *_scaled_by_row(node, f"{found}_cast", beside),
    ]
    _put(graph, node, nodes, {beside: scale.reshape(-1), f"{beside}_axis": np.array([-1], np.int64)})


def _scaled_by_row(node: onnx.NodeProto, levels: str, scale: str) -> list[onnx.NodeProto]:
    """The levels that a look-up found, times the scale of each row, of one axis: equal to the head's, it is stored once."""
    return [
        helper.make_node("Gather", [scale, node.input[1]], [f"{scale}_found"]),
        helper.make_node("Unsqueeze", [f"{scale}_found", f"{scale}_axis"], [f"{scale}_beside"]),
        helper.make_node("Mul", [levels, f"{scale}_beside"], [node.output[0]]),
    ]


def _turned_levels(graph: onnx.GraphProto, weight: IntegerWeight) -> str | None:
    """The constant that holds the same int8 levels the other way round, [values, rows], as an int8 head's MatMul reads them."""
    if weight.bits != 8 or weight.zero_point is not None:
        return None
    wanted = weight.levels.reshape(len(weight.levels), -1).T
    for constant in graph.initializer:
        is_alike = constant.data_type == TensorProto.INT8 and tuple(constant.dims) == wanted.shape
        if is_alike and np.array_equal(numpy_helper.to_array(constant), wanted):
            return str(constant.name)
    return None


def _look_up_turned(graph: onnx.GraphProto, node: onnx.NodeProto, weight: IntegerWeight, levels: str, rank: int) -> None:
    found, scale = f"{node.name}_found", f"{node.name}_scale"
    nodes = [
        helper.make_node("Gather", [levels, node.input[1]], [found], name=node.name, axis=1),
        helper.make_node("Transpose", [found], [f"{found}_rows"], perm=[*range(1, rank + 1), 0]),
        helper.make_node("Cast", [f"{found}_rows"], [f"{found}_cast"], to=TensorProto.FLOAT),
        *_scaled_by_row(node, f"{found}_cast", scale),
    ]
    _put(graph, node, nodes, {scale: weight.scale.reshape(-1), f"{scale}_axis": np.array([-1], np.int64)})


def _look_up(graph: onnx.GraphProto, node: onnx.NodeProto, weight: IntegerWeight, packed: onnx.NodeProto | None) -> None:
    """Put what reads integers in the place of a Gather; `packed` is the MatMulNBits that has the same ones."""
    rows, groups, values = weight.levels.shape
    rank = _rank(graph, node.input[1])
    block = None if packed is None else next(attribute.i for attribute in packed.attribute if attribute.name == "block_size")
    is_shared = packed is not None and groups * values % (block or 1) == 0 and values % (block or 1) == 0 and rank is not None
    if weight.bits == 4:
        _look_up_packed(graph, node, weight, packed if is_shared else None, block or values)
    elif packed is not None and is_shared and weight.zero_point is None:
        parts: dict[str, Array] = {
            f"{node.name}_middle": np.array(1 << (weight.bits - 1), np.float32),
            f"{node.name}_last": np.array([-1], np.int64),
            f"{node.name}_shape": np.array([*[0] * (rank or 0), groups * values], np.int64),
        }
        nodes = [
            helper.make_node("Gather", [packed.input[1], node.input[1]], [f"{node.name}_levels"], name=node.name),
            helper.make_node("Cast", [f"{node.name}_levels"], [f"{node.name}_cast"], to=TensorProto.FLOAT),
            helper.make_node("Sub", [f"{node.name}_cast", f"{node.name}_middle"], [f"{node.name}_signed"]),
            helper.make_node("Gather", [packed.input[2], node.input[1]], [f"{node.name}_scales"]),
            helper.make_node("Unsqueeze", [f"{node.name}_scales", f"{node.name}_last"], [f"{node.name}_beside"]),
            helper.make_node("Mul", [f"{node.name}_signed", f"{node.name}_beside"], [f"{node.name}_product"]),
            helper.make_node("Reshape", [f"{node.name}_product", f"{node.name}_shape"], [node.output[0]]),
        ]
        _put(graph, node, nodes, parts)
    else:
        _look_up_rows(graph, node, weight, rows)


def _look_up_rows(graph: onnx.GraphProto, node: onnx.NodeProto, weight: IntegerWeight, rows: int) -> None:
    """8-bit levels of their own, each value beside the scale of its row, or of its group, spread over the row."""
    wide = weight.scale.shape[1] > 1
    values = weight.levels.shape[2]
    scale = np.repeat(weight.scale, values, axis=1) if wide else weight.scale
    parts: dict[str, Array] = {f"{node.name}_levels": weight.levels.reshape(rows, -1), f"{node.name}_scale": scale}
    nodes = [
        helper.make_node("Gather", [f"{node.name}_levels", node.input[1]], [f"{node.name}_found"], name=node.name),
        helper.make_node("Cast", [f"{node.name}_found"], [f"{node.name}_cast"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{node.name}_scale", node.input[1]], [f"{node.name}_scales"]),
    ]
    made = f"{node.name}_cast"
    if weight.zero_point is not None:
        parts[f"{node.name}_zero_point"] = np.repeat(weight.zero_point, values, axis=1) if wide else weight.zero_point
        nodes += [
            helper.make_node("Gather", [f"{node.name}_zero_point", node.input[1]], [f"{node.name}_points"]),
            helper.make_node("Sub", [made, f"{node.name}_points"], [f"{node.name}_shifted"]),
        ]
        made = f"{node.name}_shifted"
    nodes.append(helper.make_node("Mul", [made, f"{node.name}_scales"], [node.output[0]]))
    _put(graph, node, nodes, parts)


def _look_up_packed(graph: onnx.GraphProto, node: onnx.NodeProto, weight: IntegerWeight, packed: onnx.NodeProto | None, block: int) -> None:
    """4-bit levels, two a byte; those of a MatMulNBits are reshaped when the graph is loaded."""
    rows, groups, values = weight.levels.shape
    nodes: list[onnx.NodeProto] = []
    levels, scale, parts = f"{node.name}_levels", f"{node.name}_scale", dict[str, Array]()
    if packed is None:
        parts = {levels: packed_levels(weight, values).reshape(rows, -1), scale: weight.scale}
        block = values
    else:
        parts = {f"{node.name}_shape": np.array([rows, groups * values // 2], np.int64)}
        nodes.append(helper.make_node("Reshape", [packed.input[1], f"{node.name}_shape"], [levels]))
        scale = packed.input[2]
    settings = {"bits": 4, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
    nodes.append(
        helper.make_node(LOOK_UP_NBITS, [levels, node.input[1], scale], [node.output[0]], name=node.name, domain=MICROSOFT, **settings)
    )
    _put(graph, node, nodes, parts)


def _rank(graph: onnx.GraphProto, name: str) -> int | None:
    known = {value.name: value for value in (*graph.input, *graph.value_info)}
    return len(known[name].type.tensor_type.shape.dim) if name in known else None


def _put(graph: onnx.GraphProto, node: onnx.NodeProto, nodes: list[onnx.NodeProto], parts: Mapping[str, Array]) -> None:
    place = list(graph.node).index(node)
    graph.node.remove(node)
    for index, made in enumerate(nodes):
        graph.node.insert(place + index, made)
    graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in parts.items())


def _drop_unread(graph: onnx.GraphProto) -> None:
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for constant in [constant for constant in graph.initializer if constant.name not in read]:
        graph.initializer.remove(constant)
