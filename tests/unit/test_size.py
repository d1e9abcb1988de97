"""Size, memory and energy: what the disk, a fresh process and the counters say."""

import subprocess
import sys
from pathlib import Path

import pytest

from slimline.errors import ArtifactError, StageError
from slimline.measure.energy import energy_per_call
from slimline.measure.memory import peak_memory_bytes
from slimline.measure.size import size_bytes, size_ratio


def test_every_file_counts_manifest_included(tmp_path: Path) -> None:
    (tmp_path / "graphs").mkdir()
    (tmp_path / "manifest.json").write_bytes(b"x" * 10)
    (tmp_path / "graphs" / "model.onnx").write_bytes(b"x" * 90)
    assert size_bytes(tmp_path) == 100
    assert size_ratio(400, 100) == 4.0


def test_a_missing_artifact_has_no_size(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no files"):
        size_bytes(tmp_path / "none")


def test_peak_memory_keeps_what_was_freed(project: Path) -> None:
    program = (
        "from slimline.measure.memory import peak_memory_bytes as peak\n"
        "before = peak(); block = bytearray(64 << 20); del block\nprint(peak() - before)"
    )
    grown = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=project).stdout)
    assert 60 << 20 < grown < 72 << 20


def test_a_system_without_the_figure_is_told(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="Linux"):
        peak_memory_bytes(tmp_path / "status")


def counters(root: Path, name: str, value: int, largest: int = 10_000_000) -> Path:
    package = root / name
    package.mkdir()
    (package / "energy_uj").write_text(f"{value}\n")
    (package / "max_energy_range_uj").write_text(f"{largest}\n")
    return package / "energy_uj"


def test_energy_sums_packages_and_survives_a_counter_that_wraps(tmp_path: Path) -> None:
    first, second = counters(tmp_path, "intel-rapl:0", 1_000), counters(tmp_path, "intel-rapl:1", 9_999_000)
    core = counters(tmp_path, "intel-rapl:0:0", 0)

    def run() -> int:
        first.write_text("5000")
        second.write_text("1000")
        core.write_text("900000")
        return 10

    energy = energy_per_call(run, tmp_path)
    assert energy.millijoules == pytest.approx((4_000 + 2_000) / 10 / 1000)
    assert "2 package(s)" in energy.reason


def test_no_counters_no_figure_and_no_work(tmp_path: Path) -> None:
    energy = energy_per_call(lambda: pytest.fail("nothing to measure"), tmp_path)
    assert energy.millijoules is None
    assert "no intel-rapl package" in energy.reason


def test_counters_that_stand_still_are_no_zero(tmp_path: Path) -> None:
    counters(tmp_path, "intel-rapl:0", 7)
    assert energy_per_call(lambda: 5, tmp_path).millijoules is None
