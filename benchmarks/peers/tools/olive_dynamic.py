"""Olive's OnnxDynamicQuantization at its defaults: https://microsoft.github.io/Olive, "ONNX Post Training Quantization"."""

from handed import handed
from olive_run import run_pass

given = handed()
run_pass(given, "OnnxDynamicQuantization")
