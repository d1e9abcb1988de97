"""ONNX Runtime as slimline runs it."""

from pathlib import Path

import onnxruntime

from slimline.methods.compile.saturation import multiply_exactly


def exact_session(graph: Path) -> onnxruntime.InferenceSession:
    """A session of one thread that multiplies int8 exactly on every CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    multiply_exactly(options)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
