"""The machine: this one, and others by their /proc/cpuinfo."""

import platform
from importlib.metadata import version
from pathlib import Path

from slimline.measure.machine import machine

XEON = """processor\t: 0
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu avx avx2 fma avx512f avx512_vnni amx_int8 amx_bf16

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
GRAVITON = "processor\t: 0\nBogoMIPS\t: 2100.00\nFeatures\t: fp asimd asimddp i8mm bf16 sve\n"


def test_the_first_processor_and_its_telling_flags(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(XEON)
    found = machine(2, tmp_path / "cpuinfo")
    assert found["cpu"] == "Intel(R) Xeon(R) Processor"
    assert found["isa"] == ["avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_int8", "amx_bf16"]
    assert found["threads"] == 2


def test_arm_has_features_and_no_model_name(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(GRAVITON)
    found = machine(1, tmp_path / "cpuinfo")
    assert found["isa"] == ["asimd", "asimddp", "i8mm", "bf16", "sve"]
    assert found["cpu"]


def test_this_machine(tmp_path: Path) -> None:
    found = machine(1)
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 0
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["torch"] == version("torch")
    assert machine(1, tmp_path / "none")["isa"] == []
