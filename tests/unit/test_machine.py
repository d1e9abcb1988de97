"""The machine: this one, and others by their /proc/cpuinfo."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

from slimline.measure.machine import MACHINE, fingerprint, machine_id, record

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
    found = fingerprint(tmp_path / "cpuinfo")
    assert found["cpu"] == "Intel(R) Xeon(R) Processor"
    assert found["isa"] == ["avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_int8", "amx_bf16"]


def test_arm_has_features_and_no_model_name(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(GRAVITON)
    found = fingerprint(tmp_path / "cpuinfo")
    assert found["isa"] == ["asimd", "asimddp", "i8mm", "bf16", "sve"]
    assert found["cpu"]


def test_this_machine(tmp_path: Path) -> None:
    found = fingerprint()
    assert found["cores"] >= 1
    assert found["memory_gib"] >= 1
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["torch"] == version("torch")
    assert fingerprint(tmp_path / "none")["isa"] == []


def test_it_is_equal_again_and_named_by_its_content(tmp_path: Path) -> None:
    assert fingerprint() == fingerprint()
    (tmp_path / "cpuinfo").write_text(XEON)
    other = fingerprint(tmp_path / "cpuinfo")
    assert machine_id(other) == machine_id(dict(reversed(other.items())))
    assert machine_id(other) != machine_id(other | {"cores": 64})


def test_it_is_written_only_where_another_one_stands(tmp_path: Path) -> None:
    record(tmp_path)
    before = (tmp_path / MACHINE).stat().st_mtime_ns
    assert record(tmp_path) == fingerprint()
    assert (tmp_path / MACHINE).stat().st_mtime_ns == before
    (tmp_path / MACHINE).write_bytes(b"\xff garbage")
    record(tmp_path)
    assert json.loads((tmp_path / MACHINE).read_text()) == fingerprint()
