"""Which instruction sets a CPU has: machine code compiled for one is only loaded where they are all there."""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
FAMILIES = ("sse4", "avx", "amx", "sve", "asimd", "i8mm", "bf16")
SINGLE = "abm adx aes bmi1 bmi2 f16c fma fphp gfni lahf_lm movbe pclmulqdq popcnt ssse3 vaes vpclmulqdq"
"""What g++ -march=native, oneDNN and Inductor choose instructions by, in Linux's names."""


def instruction_sets(cpuinfo: Path = CPUINFO) -> tuple[str, ...]:
    """This CPU's architecture and instruction sets, sorted; on systems without /proc/cpuinfo the architecture alone."""
    flags: set[str] = set()
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        flags = set(next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "").split())
    singles = SINGLE.split()
    return tuple(sorted({platform.machine(), *(flag for flag in flags if flag in singles or flag.startswith(FAMILIES))}))
