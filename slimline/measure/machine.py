"""Which kind of machine timings come from: what DVC keys them by, and what a release says of them."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from slimline.artifact.folder import json_text, write_text

CPUINFO = Path("/proc/cpuinfo")
MACHINE = Path("data/machine.json")
"""Where a run keeps the fingerprint of its machine; the stage `time` depends on it."""
SCHEMA = 1
ID_DIGITS = 12
GIBIBYTE = 1 << 30
X86 = "avx avx2 fma f16c avx_vnni avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_int8 amx_bf16 amx_fp16"
ARM = "asimd asimdhp asimddp i8mm bf16 sve sve2"
ISA = (*X86.split(), *ARM.split())
"""Instruction sets that decide which kernels run."""
LIBRARIES = ("torch", "torchao", "onnxruntime", "openvino", "nncf", "onnx", "executorch", "jax", "numpy")


def fingerprint(cpuinfo: Path = CPUINFO) -> dict[str, Any]:
    """What decides how long a model takes: the processor, its instruction sets, cores (those this process may use), memory in whole
    GiB, and the versions of Python and the runtimes. Equal on every machine of a kind, and on every day of one machine."""
    fields = _cpuinfo(cpuinfo)
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return {
        "schema": SCHEMA,
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "isa": [name for name in ISA if name in flags],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / GIBIBYTE),
        "versions": {"python": platform.python_version(), **_installed(LIBRARIES)},
    }


def machine_id(found: Mapping[str, Any]) -> str:
    """The first digits of a fingerprint's SHA-256: a short name for a kind of machine."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:ID_DIGITS]


def record(root: Path) -> dict[str, Any]:
    """Write the fingerprint to data/machine.json where another one stands there, or none, and give it."""
    found, path = fingerprint(), root / MACHINE
    text = json_text(found)
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        write_text(path, text)
    return found


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
