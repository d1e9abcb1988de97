"""What may be imported from where, seen in real processes."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HEAVY = ("torch", "prefect", "dvc", "onnxruntime", "openvino", "nncf", "great_expectations", "sklearn", "transformers", "tokenizers")


def imported_by(project: Path, module: str) -> set[str]:
    code = f"import sys, {module}; print(*(name for name in {(*HEAVY, 'slimline.params')!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["slimline.cli", "slimline.params", "slimline.workloads", "slimline.runtime", "slimline.storage.publish"]
)
def test_light_modules_import_nothing_heavy(project: Path, module: str) -> None:
    assert imported_by(project, module) <= {"slimline.params"}


def test_a_process_that_only_loads_a_model_starts_light(project: Path) -> None:
    assert imported_by(project, "slimline.worker, slimline.runtime, slimline.loaders.onnxruntime") == {"onnxruntime"}


def test_flows_never_import_torch(project: Path) -> None:
    assert "torch" not in imported_by(project, "flows.compress")


def test_the_wheel_holds_slimline_alone(project: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=project, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"slimline", "slimline-0.1.0.dist-info"}


def test_makefile_has_at_most_ten_targets(project: Path) -> None:
    phony = next(line for line in (project / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    assert len(phony.split()[1:]) <= 10


def test_constraints_are_complete_and_exact(project: Path) -> None:
    lines = (project / "constraints.txt").read_text().split()
    assert all(line.count("==") == 1 for line in lines)
    pins = dict(line.lower().split("==") for line in lines)
    assert pins["torch"] == "2.13.0"
    assert pins["sqlalchemy"].startswith("2.0.")
    assert pins["prefect"].startswith("3.8.")
