"""A stage as the process that DVC starts: exit codes, one clear line, nothing half written, no orphan."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from slimline.artifact.weights import write_weights
from slimline.data.signature import signature_of
from slimline.errors import OF_MACHINE, Diverged, MachineError, SlimlineError, StageError, WorkloadError
from slimline.methods.compile.openvino import openvino
from slimline.stage import Stage, stage_main

PARAMS = """\
workload: tabular
data: {test_fraction: 0.3, validation_fraction: 0.1, calibration_samples: 64}
calibrate: {samples: 64}
deploy: {variants: [teacher], targets: [onnxruntime]}
"""


@pytest.fixture
def folder(project: Path, in_folder: Path) -> Path:
    (in_folder / "params.yaml").write_text(PARAMS)
    (in_folder / "reports").mkdir()
    (in_folder / "reports/templates").symlink_to(project / "reports/templates")
    return in_folder


def stage(project: Path, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(project)} | more
    return subprocess.run([sys.executable, "-m", "tasks.data"], cwd=folder, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_wrong_params_are_all_told_and_nothing_is_written(project: Path, folder: Path) -> None:
    (folder / "params.yaml").write_text(PARAMS.replace("test_fraction", "tset_fraction").replace("onnxruntime", "tpu"))
    done = stage(project, folder)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: params.yaml: ") for line in lines)
    assert not (folder / "data").exists()


@pytest.fixture
def tiny_disk(folder: Path) -> Iterator[Path]:
    """data/ on a disk of 100 kB."""
    disk = folder / "data"
    disk.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    if not mounted or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_gives_one_line_and_leaves_no_half_folder(project: Path, tiny_disk: Path) -> None:
    done = stage(project, tiny_disk.parent)
    assert done.returncode == OF_MACHINE
    assert [line for line in done.stderr.splitlines() if line.startswith("error: disk full while writing")], done.stderr
    assert "Traceback" not in done.stderr
    assert list(tiny_disk.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "cause", "code"),
    [
        (MemoryError(), None, OF_MACHINE),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), None, OF_MACHINE),
        (MachineError("the runtime's process died"), None, OF_MACHINE),
        (WorkloadError("workload 'own': loss() raised MemoryError"), MemoryError(), OF_MACHINE),
        (StageError("data: did not compile"), MemoryError(), OF_MACHINE),
        (Diverged("training: NaN in epoch 3"), None, SlimlineError.exit_code),
        (WorkloadError("workload 'own': loss() raised ValueError"), ValueError(), WorkloadError.exit_code),
    ],
)
def test_a_stage_that_the_machine_failed_has_an_exit_code_of_its_own(
    folder: Path, error: Exception, cause: Exception | None, code: int
) -> None:
    def main(_: Stage) -> None:
        raise error from cause

    missed: list[StageError] = []
    with pytest.raises(SystemExit) as ended:
        stage_main("data", main, None, [], on_miss=lambda _, reason: missed.append(reason))
    assert ended.value.code == code
    assert missed == [], "a variant for which memory was wanting is no result"


def test_weights_on_a_full_disk_are_an_error_that_stages_know(tiny_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        write_weights(tiny_disk / "weights.safetensors", {"weight": torch.ones(100, 1000)})


def test_openvino_on_a_full_disk_says_how_much_is_free(tiny_disk: Path) -> None:
    model, inputs = nn.Sequential(nn.Linear(300, 300)).eval(), {"input": torch.ones(2, 300)}
    with pytest.raises(MachineError, match=r"could not write model\.xml .* bytes are free"):
        openvino(model, None, tiny_disk, example=inputs, calibration=inputs, signature=signature_of([inputs], model(**inputs)))


def test_a_stage_ends_with_the_flow_that_started_it(project: Path, folder: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    slow = folder / "slow.py"
    slow.write_text(
        "import time\nfrom slimline.stage import stage_main\n"
        "def main(stage): print('running', flush=True); time.sleep(60)\n"
        "stage_main('data', main, 'slow')\n"
    )
    env = os.environ | {"PYTHONPATH": str(project), "SLIMLINE_PARENT": f"{parent.pid}:{psutil.Process(parent.pid).create_time()}"}
    child = subprocess.Popen([sys.executable, str(slow)], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "running\n"
    parent.kill()
    parent.wait()
    began = time.monotonic()
    assert child.wait(timeout=20) == 75
    assert time.monotonic() - began < 10
