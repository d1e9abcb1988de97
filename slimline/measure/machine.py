"""Which machine the timings come from."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

CPUINFO = Path("/proc/cpuinfo")
X86 = "avx avx2 fma f16c avx_vnni avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_int8 amx_bf16 amx_fp16"
ARM = "asimd asimdhp asimddp i8mm bf16 sve sve2"
ISA = (*X86.split(), *ARM.split())
"""Instruction sets that decide which kernels run."""
LIBRARIES = ("torch", "torchao", "onnxruntime", "openvino", "nncf", "onnx", "executorch", "jax", "numpy")


def machine(threads: int, cpuinfo: Path = CPUINFO) -> dict[str, Any]:
    """The processor, its instruction sets, cores (those this process may use), the threads a runtime got, and versions."""
    fields = _cpuinfo(cpuinfo)
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "isa": [name for name in ISA if name in flags],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "threads": threads,
        "versions": {"python": platform.python_version(), **_installed(LIBRARIES)},
    }


def _cpuinfo(path: Path) -> dict[str, str]:
    """The fields of the first processor."""
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8").strip().split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _installed(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
