"""Where ONNX Runtime cannot multiply int8 exactly on CPUs whose sums saturate, and weights have to be in 7 bits."""

from collections import Counter

import onnx

from slimline.methods.compile.onnx_graph import initializers, raw_bytes
from slimline.methods.compile.saturation import sums_saturate

WEIGHTED = ("Conv", "Gemm", "MatMul", "LSTM")


def saturates(graph: onnx.GraphProto) -> bool:
    """Whether 8 bits saturate here in spite of saturation.EXACT, which ONNX Runtime refuses where nodes have equal weights."""
    constants = initializers(graph)
    weights = [constants[node.input[1]] for node in graph.node if node.op_type in WEIGHTED and node.input[1] in constants]
    read = Counter(raw_bytes(weight) for weight in weights)
    return sums_saturate() and any(times > 1 for times in read.values())
