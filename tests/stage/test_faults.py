"""A quick part of benchmarks/faults: altered artifacts and odd inputs are refused in one line, in bounded memory, importing nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("script", "families"),
    [
        ("altered_artifacts.py", "memory,code,weights,files"),
        ("predict_inputs.py", "places,arrays,csv,parquet,disk"),
    ],
)
def test_every_try_is_held(script: str, families: str, project: Path) -> None:
    command = [sys.executable, str(project / "benchmarks/faults" / script), "--seed", "1", "--only", families]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
