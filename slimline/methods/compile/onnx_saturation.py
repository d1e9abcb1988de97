"""Where ONNX Runtime cannot multiply int8 exactly on CPUs whose sums saturate, and weights have to be in 7 bits."""

from collections import Counter
from collections.abc import Iterator

import onnx

from slimline.methods.compile.onnx_graph import initializers, raw_bytes
from slimline.methods.compile.saturation import sums_saturate

PRODUCTS = ("Conv", "Gemm", "MatMul")
"""Multiplied in int8 where both what they read and their weight come out of a DequantizeLinear."""
INTEGER_PRODUCTS = {"MatMulInteger": (1,), "DynamicQuantizeLSTM": (1, 2)}
"""Which of their inputs are weights."""


def saturates(graph: onnx.GraphProto) -> bool:
    """Whether a graph in int8 saturates here in spite of saturation.EXACT, which ONNX Runtime refuses where nodes have equal levels."""
    read = Counter(raw_bytes(levels) for levels in _levels(graph))
    return sums_saturate() and any(times > 1 for times in read.values())


def _levels(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The int8 weight of each node that multiplies in int8, as often as it is read."""
    constants = initializers(graph)
    dequantized = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.node:
        read = [node.input[place] for place in INTEGER_PRODUCTS.get(node.op_type, ())]
        if node.op_type in PRODUCTS and node.input[0] in dequantized:
            read = [dequantized.get(node.input[1], "")]
        yield from (constants[name] for name in read if name in constants and constants[name].data_type == onnx.TensorProto.INT8)
