"""Integer weights in an ONNX graph: MatMulNBits for 4-bit matrix products, unpacking arithmetic for everything else."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from ml_dtypes import int4, uint4
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, version_converter

from slimline.methods.compile.integer_weights import IntegerWeight
from slimline.methods.compile.onnx_graph import initializers, producers
from slimline.methods.quantize.plan import stored_bits

OPSET_OF_INT4 = 21
MICROSOFT, NBITS = "com.microsoft", "MatMulNBits"
BLOCKS = (16, 32, 64, 128, 256)
FLOAT_ARITHMETIC, INT8_ARITHMETIC = 1, 4
TURN = "Transpose"
PRODUCTS = ("Gemm", "MatMul")
AS_MATMUL = "_MatMul"

Array = NDArray[np.generic]


def store_integers(graph_model: onnx.ModelProto, weights: Mapping[str, IntegerWeight], *, in_int8: bool = False) -> onnx.ModelProto:
    """A copy of the graph whose nodes (name -> weight) store integers and compute in float32, or `in_int8`. A layer that is used again
    has a node for each time, whose scales are its own where a batch norm of its own is folded into it.

    A 4-bit matrix product becomes com.microsoft's MatMulNBits, which keeps its weights packed and unpacks them block by block in
    every run. That kernel takes whole zero points only (with fractional ones, HQQ's, it is 8 times slower than float32), and to
    round them undoes what HQQ gained: on normal weights in groups of 64, 21.3 dB fall to the 20.8 dB of rounding to nearest.
    So they become a small product of their own: (q - z) s = (q - 8) s + (8 - z) s, whose second term needs the sum of each group
    of inputs alone. Everything else is stored as int4, uint4, int8 or uint8 and unpacked by Cast, Sub and Mul, which ONNX Runtime
    folds when it loads the graph: fewer bytes on disk, at float32's speed (DequantizeLinear would be left to every run, and 8-bit
    MatMulNBits takes 3 to 6 times as long as float32).

    In int8 the kernel rounds its inputs too, each block over its own range, and 8-bit matrix products take it as well: of 576 by 49,152
    weights one row took 1.2 ms with 8 bits, 1.5 ms with 4 and 6.7 ms in float32, 128 rows 48, 57 and 70 ms.
    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(_with_int4(graph_model) if in_int8 or any(weight.bits == 4 for weight in weights.values()) else graph_model)
    for node in list(changed.graph.node):
        weight = weights.get(node.name)
        if weight is None or weight_name(changed.graph, node) is None:
            continue
        if _fits_kernel(node, weight, in_int8=in_int8):
            _multiply_packed(changed.graph, node, weight, INT8_ARITHMETIC if in_int8 else FLOAT_ARITHMETIC)
        else:
            _unpack(changed.graph, node, weight)
    _drop_idle(changed.graph)
    return changed


def weight_name(graph: onnx.GraphProto, node: onnx.NodeProto) -> str | None:
    """The constant that a layer's node reads as its weight, perhaps turned before it; None where it reads none."""
    constants, made_by = initializers(graph), producers(graph)
    name = node.input[1] if len(node.input) > 1 else ""
    if name in made_by and made_by[name].op_type == TURN:
        name = made_by[name].input[0]
    return name if name in constants else None


def exported_weight(graph: onnx.GraphProto, node: onnx.NodeProto) -> Array | None:
    """The constant that a layer's node reads as its weight, [outputs, …]; None where it reads none."""
    name = weight_name(graph, node)
    if name is None:
        return None
    value = numpy_helper.to_array(initializers(graph)[name])
    return value if name not in node.input else oriented(node, value)


def _drop_idle(graph: onnx.GraphProto) -> None:
    """Take away what turned a weight that nothing reads any more."""
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for node in [node for node in graph.node if node.op_type == TURN and node.output[0] not in read]:
        graph.node.remove(node)


def oriented(node: onnx.NodeProto, value: Array) -> Array:
    """The weight that a layer's node reads, turned to [outputs, …]; or turned back."""
    return value.T if _is_turned(node) else value


def is_packed(node: onnx.NodeProto, levels: onnx.TensorProto, precision: str) -> bool:
    """Whether the levels of a MatMulNBits really take as many bits as it says, and as a precision asks for."""
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    packed = levels.data_type == TensorProto.UINT8 and levels.dims[2] * 8 == attributes["block_size"] * attributes["bits"]
    return bool(packed and attributes["bits"] == stored_bits(precision))


def _with_int4(graph_model: onnx.ModelProto) -> onnx.ModelProto:
    opset = next(entry.version for entry in graph_model.opset_import if entry.domain == "")
    converted = graph_model if opset >= OPSET_OF_INT4 else version_converter.convert_version(graph_model, OPSET_OF_INT4)
    if MICROSOFT not in {entry.domain for entry in converted.opset_import}:
        converted.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return converted


def _is_turned(node: onnx.NodeProto) -> bool:
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    return node.op_type == "MatMul" or (node.op_type == "Gemm" and not attributes.get("transB", 0))


def _fits_kernel(node: onnx.NodeProto, weight: IntegerWeight, *, in_int8: bool) -> bool:
    return node.op_type in PRODUCTS and (weight.bits == 4 or in_int8)


def _multiply_packed(graph: onnx.GraphProto, node: onnx.NodeProto, weight: IntegerWeight, arithmetic: int) -> None:
    """Put MatMulNBits in the node's place, with a correction beside it where zero points are fractional."""
    layer, (outputs, groups, values) = node.name, weight.levels.shape
    block = _block_of(values)
    repeats = -(-values // block)
    names = {part: f"{layer}_{part}" for part in ("levels", "scale", "zero_point", "product")}
    is_fractional = weight.zero_point is not None and not weight.has_whole_zero_points
    parts: dict[str, Array] = {
        names["levels"]: packed_levels(weight, block),
        names["scale"]: np.repeat(weight.scale, repeats, axis=1),
    }
    if weight.zero_point is not None and weight.has_whole_zero_points:
        points = np.repeat(weight.zero_point, repeats, axis=1).astype(np.uint8)
        parts[names["zero_point"]] = _paired(points) if weight.bits == 4 else points
    bias = node.input[2] if len(node.input) > 2 else ""
    product = helper.make_node(
        NBITS,
        [node.input[0], *parts, *[""] * (4 - len(parts)), *([bias] if bias and not is_fractional else [])],
        [names["product"] if is_fractional else node.output[0]],
        name=layer,
        domain=MICROSOFT,
        K=groups * values,
        N=outputs,
        bits=weight.bits,
        block_size=block,
        accuracy_level=arithmetic,
    )
    nodes = [product]
    if is_fractional:
        shift_parts, shift_nodes = _shift(node, weight, names["product"], bias)
        parts, nodes = parts | shift_parts, [*nodes, *shift_nodes]
    _replace_node(graph, node, nodes, parts)


def _shift(node: onnx.NodeProto, weight: IntegerWeight, product: str, bias: str) -> tuple[dict[str, Array], list[onnx.NodeProto]]:
    """The part of the product that fractional zero points make: (8 - z) s times the sum of each group of inputs."""
    if node.op_type == "MatMul":
        return _shift_of_any_rank(node, weight, product)
    layer, (_, groups, values) = node.name, weight.levels.shape
    shape, axis, shift = f"{layer}_shape", f"{layer}_axis", f"{layer}_shift"
    zero_point = np.zeros(1) if weight.zero_point is None else weight.zero_point.astype(np.float64)
    parts: dict[str, Array] = {
        shape: np.array([0, groups, values], np.int64),
        axis: np.array([2], np.int64),
        shift: ((_middle(weight) - zero_point) * weight.scale).astype(np.float32),
    }
    made = [f"{layer}_{part}" for part in ("rows", "sums", "shifted")]
    nodes = [
        helper.make_node("Reshape", [node.input[0], shape], [made[0]]),
        helper.make_node("ReduceSum", [made[0], axis], [made[1]], keepdims=0),
        helper.make_node("Gemm", [made[1], shift, *([bias] if bias else [])], [made[2]], transB=1),
        helper.make_node("Add", [product, made[2]], [node.output[0]]),
    ]
    return parts, nodes


def _shift_of_any_rank(node: onnx.NodeProto, weight: IntegerWeight, product: str) -> tuple[dict[str, Array], list[onnx.NodeProto]]:
    """The same where inputs have more axes: the groups are summed by a product with a matrix of zeros and ones."""
    layer, (_, groups, values) = node.name, weight.levels.shape
    zero_point = np.zeros(1) if weight.zero_point is None else weight.zero_point.astype(np.float64)
    parts: dict[str, Array] = {
        f"{layer}_groups": np.repeat(np.eye(groups, dtype=np.float32), values, axis=0),
        f"{layer}_shift": ((_middle(weight) - zero_point) * weight.scale).astype(np.float32).T,
    }
    nodes = [
        helper.make_node("MatMul", [node.input[0], f"{layer}_groups"], [f"{layer}_sums"]),
        helper.make_node("MatMul", [f"{layer}_sums", f"{layer}_shift"], [f"{layer}_shifted"]),
        helper.make_node("Add", [product, f"{layer}_shifted"], [node.output[0]]),
    ]
    return parts, nodes


def _middle(weight: IntegerWeight) -> int:
    """The level that the kernel takes for zero where it is given no zero points."""
    return 1 << (weight.bits - 1)


def _unpack(graph: onnx.GraphProto, node: onnx.NodeProto, weight: IntegerWeight) -> None:
    """Let Cast, Sub and Mul (and Reshape, Transpose) make the constant that a node reads; other readers get it too."""
    name = weight_name(graph, node) or ""
    is_turned = name in node.input and _is_turned(node)
    value = numpy_helper.to_array(initializers(graph)[name])
    shape = (value.T if is_turned else value).shape
    is_grouped = weight.scale.shape[1] > 1
    beside = (*weight.scale.shape, 1) if is_grouped else (len(weight.scale), *[1] * (len(shape) - 1))
    scale = weight.scale[:1, :1] if np.all(weight.scale == weight.scale[0, 0]) else weight.scale
    levels, zero_point = f"{name}_levels", f"{name}_zero_point"
    nodes: list[onnx.NodeProto] = []
    parts: dict[str, Array] = {levels: _narrow(weight.levels, weight).reshape(weight.levels.shape if is_grouped else shape)}
    made = _append(nodes, "Cast", [levels], to=TensorProto.FLOAT)
    if weight.zero_point is not None:
        is_whole = weight.has_whole_zero_points
        parts[zero_point] = (_narrow(weight.zero_point.astype(np.uint8), weight) if is_whole else weight.zero_point).reshape(beside)
        shift = _append(nodes, "Cast", [zero_point], to=TensorProto.FLOAT) if is_whole else zero_point
        made = _append(nodes, "Sub", [made, shift])
    parts[f"{name}_scale"] = scale.reshape(beside if scale.size > 1 else [1] * len(beside))
    made = _append(nodes, "Mul", [made, f"{name}_scale"])
    if is_grouped:
        parts[f"{name}_shape"] = np.array(shape, np.int64)
        made = _append(nodes, "Reshape", [made, f"{name}_shape"])
    if is_turned:
        _append(nodes, TURN, [made])
    nodes[-1].output[:] = [name]
    graph.initializer.remove(initializers(graph)[name])
    graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in parts.items())
    for index, each in enumerate(nodes):
        graph.node.insert(index, each)


def _append(nodes: list[onnx.NodeProto], kind: str, inputs: list[str], **attributes: int) -> str:
    """Add a node that reads `inputs`; the name of what it makes."""
    made = f"{inputs[0]}_{kind}"
    nodes.append(helper.make_node(kind, inputs, [made], **attributes))
    return made


def _replace_node(graph: onnx.GraphProto, node: onnx.NodeProto, nodes: Sequence[onnx.NodeProto], parts: Mapping[str, Array]) -> None:
    place = list(graph.node).index(node)
    graph.node.remove(node)
    for index, made in enumerate(nodes):
        graph.node.insert(place + index, made)
    graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in parts.items())


def _narrow(levels: Array, weight: IntegerWeight) -> Array:
    """8-bit integers as the 4-bit type where they are so small."""
    if weight.bits == 8:
        return levels
    return levels.astype(int4 if weight.zero_point is None else uint4)


def _block_of(values: int) -> int:
    """The kernel's block for groups of so many values: of those that leave the fewest places empty, the largest."""
    return max(BLOCKS, key=lambda block: (-(-values % block), block))


def packed_levels(weight: IntegerWeight, block: int) -> Array:
    """uint8 [outputs, blocks, block], or two 4-bit levels a byte, the first one low [outputs, blocks, block / 2].

    Signed levels are shifted to be unsigned, and groups filled up with the middle.
    """
    outputs, _, values = weight.levels.shape
    shift = _middle(weight) if weight.zero_point is None else 0
    levels = (weight.levels.astype(np.int16) + shift).astype(np.uint8)
    filled = np.pad(levels, ((0, 0), (0, 0), (0, -values % block)), constant_values=_middle(weight)).reshape(outputs, -1, block)
    return _paired(filled) if weight.bits == 4 else filled


def _paired(values: NDArray[np.uint8]) -> Array:
    """Two values a byte along the last axis, the first one low; an odd one out stands alone."""
    even = np.pad(values, (*[(0, 0)] * (values.ndim - 1), (0, values.shape[-1] % 2)))
    return even[..., 0::2] | even[..., 1::2] << 4
