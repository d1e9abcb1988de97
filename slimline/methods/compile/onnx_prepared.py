"""A float graph made ready for ONNX Runtime's quantizers, and guarded against what they take for granted."""

import contextlib
from collections.abc import Collection
from pathlib import Path

import onnx

from slimline.methods.compile.onnx_graph import initializers, producers
from slimline.methods.compile.telemetry import switch_off_telemetry

switch_off_telemetry()
from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: E402

CLIPPING = ("Relu", "Clip")
ALPHA, HELD = "alpha", -1234.5
"""A factor that no exported Gemm has."""


def pre_process(exported: onnx.ModelProto, path: Path) -> None:
    """Write the graph to `path` with its shapes inferred, optimised as ONNX Runtime does before it quantizes.

    Its own inference of symbolic shapes does not know every operation (a norm of a vector, for one), and stops with whatever its Python
    meets then, a plain Exception among it. Then ONNX's inference of shapes has to do. What it leaves behind in the working directory when
    it stops (sym_shape_infer_temp.onnx and its weights) is left beside `path`.
    """
    with contextlib.suppress(Exception), contextlib.chdir(path.parent):
        quant_pre_process(exported, path)
        return
    bare = onnx.ModelProto()
    bare.CopyFrom(exported)
    bare.graph.ClearField("value_info")
    source = path.with_name("bare.onnx")
    onnx.save(bare, source)
    quant_pre_process(source, path, skip_symbolic_shape=True)


def hold_gemms(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Keep these Gemm nodes from ONNX Runtime's dynamic quantizer, in place; `release_gemms` undoes it.

    It writes every plain Gemm anew as MatMul and Add, those that it is to leave alone too, and turns the weight round as if nothing
    else read it.
    """
    for node in graph.node:
        if node.op_type == "Gemm" and node.name in names and _alpha(node) == 1.0:
            _without_alpha(node)
            node.attribute.append(onnx.helper.make_attribute(ALPHA, HELD))


def release_gemms(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Let the held nodes be what they were, in place."""
    for node in graph.node:
        if node.op_type == "Gemm" and node.name in names and _alpha(node) == HELD:
            _without_alpha(node)


def part_weights(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Give each of these Gemm nodes a weight of its own, in place, where it shares one; equal constants are joined again in the end."""
    constants = initializers(graph)
    for node in graph.node:
        weight = node.input[1] if node.op_type == "Gemm" and node.name in names else None
        if weight in constants and sum(weight in other.input for other in graph.node) > 1:
            copied = onnx.TensorProto()
            copied.CopyFrom(constants[weight])
            copied.name = node.input[1] = f"{weight}_of_{node.name}"
            graph.initializer.append(copied)


def part_outputs(graph: onnx.GraphProto) -> list[str]:
    """The names of nodes that make the graph's outputs by clipping (Relu, Clip), each parted, in place, from what other nodes read.

    ONNX Runtime's quantizer takes such a node away where a range does its work, and an output is not rounded to that range. They are not
    to be quantized; `read_exactly` undoes what happens to their inputs all the same.
    """
    made_by, names = producers(graph), []
    for output in graph.output:
        node = made_by[output.name]
        if node.op_type not in CLIPPING:
            continue
        if any(output.name in other.input for other in graph.node):
            copied = graph.node.add()
            copied.CopyFrom(node)
            node.output[0] = f"{output.name}_inside"
            for other in graph.node:
                other.input[:] = [node.output[0] if name == output.name else name for name in other.input]
            node = copied
        node.name = f"{output.name}_outside"
        names.append(node.name)
    return names


def read_exactly(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Let these nodes read what was rounded before it is, in place."""
    made_by = producers(graph)
    for node in [node for node in graph.node if node.name in names]:
        unrounding = made_by.get(node.input[0])
        rounding = made_by.get(unrounding.input[0]) if unrounding is not None and unrounding.op_type == "DequantizeLinear" else None
        if rounding is not None and rounding.op_type == "QuantizeLinear":
            node.input[0] = rounding.input[0]


def _alpha(node: onnx.NodeProto) -> float:
    return next((float(attribute.f) for attribute in node.attribute if attribute.name == ALPHA), 1.0)


def _without_alpha(node: onnx.NodeProto) -> None:
    for attribute in [attribute for attribute in node.attribute if attribute.name == ALPHA]:
        node.attribute.remove(attribute)
