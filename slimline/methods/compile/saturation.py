"""Sums of U8 × S8 products that saturate: x86 CPUs before VNNI add two of them in 16 bits, which 255 × 127 × 2 does not fit into.

https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#data-type-selection
https://docs.openvino.ai/2024/openvino-workflow/model-optimization-guide/quantizing-models-post-training/basic-quantization-flow.html
"""

from pathlib import Path
from typing import Any

from slimline.methods.compile.instruction_sets import CPUINFO, instruction_sets

WIDE_SETS = {"avx_vnni", "avx512_vnni", "amx_int8"}
"""They add four products in 32 bits."""
SEVEN_BITS = 64
"""The largest level of a weight that no sum saturates with: 255 × 64 × 2 < 2¹⁵."""
EXACT = {"session.x64quantprecision": "1"}
"""ONNX Runtime's setting by which it multiplies U8 × U8, by kernels of AVX2 alone: half as fast where VNNI without AMX is there."""


def sums_saturate(cpuinfo: Path = CPUINFO) -> bool:
    """Whether this CPU is one of them."""
    found = set(instruction_sets(cpuinfo))
    return "x86_64" in found and not found & WIDE_SETS


def exact_products() -> dict[str, str]:
    """The settings of ONNX Runtime that this CPU needs to sum products whole."""
    return EXACT if sums_saturate() else {}


def multiply_exactly(options: Any) -> None:
    """Set them in the SessionOptions of ONNX Runtime."""
    for name, value in exact_products().items():
        options.add_session_config_entry(name, value)
