"""Int8 products in an ONNX graph whose inputs have a range for each token."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor, nn

from slimline.methods.compile.integer_weights import IntegerWeight, token_weight
from slimline.methods.compile.onnx_graph import layer_nodes, layer_of
from slimline.methods.compile.onnx_integers import exported_weight
from slimline.methods.quantize.plan import Plan, weighted_layers
from slimline.methods.quantize.token_ranges import LARGEST_LEVEL, SMALLEST_SPAN, TokenRange, token_range, token_ranged

LAST, SHORTEST = "last_axis", "shortest_span"


def range_tokens(graph_model: onnx.ModelProto, model: nn.Module, plan: Plan, grids: Mapping[str, Tensor], *, in_seven_bits: bool) -> None:
    """Let the planned layers multiply in int8 with a range for each token, in place.

    Rows are divided by their spans and rounded over a fixed range, and products multiplied by them; of QuantizeLinear, DequantizeLinear
    and MatMul ONNX Runtime makes MatMulIntegerToFloat.

    Raises:
        StageError: the graph's weight is not that of the model's layer.
    """
    graph, layers = graph_model.graph, weighted_layers(model)
    wanted = layer_nodes(graph, token_ranged(plan, grids))
    if not wanted:
        return
    graph.initializer.extend(
        [numpy_helper.from_array(np.array([-1], np.int64), LAST), numpy_helper.from_array(np.float32(SMALLEST_SPAN), SHORTEST)]
    )
    rounded: dict[tuple[str, int, bytes], tuple[str, str]] = {}
    stored, instead = set[str](), dict[str, list[onnx.NodeProto]]()
    for name, node in wanted.items():
        layer = layer_of(name)
        exported, chosen = exported_weight(graph, node), token_range(grids, layer)
        if exported is None or chosen is None:
            continue
        if layer not in stored:
            values = exported.astype(np.float32, copy=False)
            weight = token_weight(layers[layer].weight, grids[f"{layer}.scale"], chosen.scale, values)
            _store(graph, layer, weight.in_seven_bits() if in_seven_bits else weight)
            stored.add(layer)
        key = node.input[0], chosen.zero_point, chosen.scale.numpy().tobytes()
        made = instead[name] = []
        if key not in rounded:
            rounded[key] = _rounded(graph, made, node.input[0], chosen, f"{node.input[0]}_by_token{len(rounded)}")
        made += _product(node, layer, *rounded[key])
    nodes = [one for node in graph.node for one in instead.get(node.name, [node])]
    del graph.node[:]
    graph.node.extend(nodes)


def _rounded(graph: onnx.GraphProto, made: list[onnx.NodeProto], source: str, chosen: TokenRange, name: str) -> tuple[str, str]:
    """What holds the rows of an input on the levels of their spans, and these; a span is counted up to the highest level, which is 1."""
    low, high = chosen.ends
    step = np.float32(1 / (LARGEST_LEVEL * high))
    constants = {"scale": chosen.scale.numpy(), "turn": np.float32(high / low), "step": step, "zero": np.uint8(chosen.zero_point)}
    graph.initializer.extend(numpy_helper.from_array(value, f"{name}_{key}") for key, value in constants.items())
    made += [
        helper.make_node("Div", [source, f"{name}_scale"], [f"{name}_smooth"]),
        helper.make_node("ReduceMin", [f"{name}_smooth", LAST], [f"{name}_lowest"], keepdims=1),
        helper.make_node("Mul", [f"{name}_lowest", f"{name}_turn"], [f"{name}_below"]),
        helper.make_node("ReduceMax", [f"{name}_smooth", LAST], [f"{name}_above"], keepdims=1),
        helper.make_node("Max", [f"{name}_above", f"{name}_below", SHORTEST], [f"{name}_span"]),
        helper.make_node("Div", [f"{name}_smooth", f"{name}_span"], [f"{name}_rows"]),
        helper.make_node("QuantizeLinear", [f"{name}_rows", f"{name}_step", f"{name}_zero"], [f"{name}_levels"]),
        helper.make_node("DequantizeLinear", [f"{name}_levels", f"{name}_step", f"{name}_zero"], [f"{name}_rounded"]),
    ]
    return f"{name}_rounded", f"{name}_span"


def _store(graph: onnx.GraphProto, layer: str, weight: IntegerWeight) -> None:
    """A layer's levels [inputs, outputs], and the scale and the zero point of each output, for all the nodes that multiply by them."""
    levels = np.ascontiguousarray(weight.levels.reshape(len(weight.levels), -1).T)
    values = (levels, weight.scale.reshape(-1), np.zeros(len(weight.scale), np.int8))
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in zip(_parts(layer), values, strict=True))


def _parts(layer: str) -> tuple[str, str, str]:
    return f"{layer}_levels", f"{layer}_scales", f"{layer}_zeros"


def _product(node: onnx.NodeProto, layer: str, rounded: str, span: str) -> list[onnx.NodeProto]:
    """The nodes in place of a layer's own; a Gemm's bias is added behind them."""
    name, output = node.name, node.output[0]
    bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
    scaled = f"{name}_scaled" if bias else output
    made = [
        helper.make_node("DequantizeLinear", _parts(layer), [f"{name}_weight"], axis=1),
        helper.make_node("MatMul", [rounded, f"{name}_weight"], [f"{name}_product"], name=name),
        helper.make_node("Mul", [f"{name}_product", span], [scaled]),
    ]
    return [*made, helper.make_node("Add", [scaled, bias], [output])] if bias else made
