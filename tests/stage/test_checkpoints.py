"""A killed teacher goes on from its last epoch, with equal bytes; with other inputs or a damaged file it begins anew."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from slimline.artifact.folder import checksums
from slimline.stage import stage_main
from slimline.storage.checkpoint_folder import FOLDER
from slimline.workloads import get_workload
from tasks import teacher
from tests.prepared_project import prepare_project

WORKLOAD = get_workload("tabular")
PARAMS: dict[str, Any] = {
    "workload": "tabular",
    "teacher": {"source": "train", "epochs": 15, "batch_size": 32},
    "deploy": {"variants": ["teacher"], "targets": ["onnxruntime"]},
}
EVERY_EPOCH = (
    "import tasks.checkpoints, tasks.teacher as teacher; from slimline.stage import stage_main; tasks.checkpoints.EVERY_S = 0.0; "
    "stage_main('teacher', teacher.main, None, [])"
)


@pytest.fixture
def line(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    prepare_project(tmp_path, project, PARAMS, WORKLOAD)
    monkeypatch.chdir(tmp_path)
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield tmp_path
    torch.use_deterministic_algorithms(deterministic)


def killed_in_the_middle(project: Path) -> list[Path]:
    """Kill the stage once it has kept an epoch; what it has left."""
    environment = os.environ | {"PYTHONPATH": str(project)}
    with subprocess.Popen([sys.executable, "-c", EVERY_EPOCH], env=environment) as process:
        while not list(FOLDER.rglob("*.safetensors")) and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    return list(FOLDER.rglob("*.safetensors"))


def trained(caplog: pytest.LogCaptureFixture) -> tuple[int, dict[str, str]]:
    """How many epochs ran, and the bytes that came out."""
    caplog.clear()
    stage_main("teacher", teacher.main, None, [])
    return sum(line.startswith("teacher: epoch ") for line in caplog.messages), checksums(Path("data/models/teacher"))


@pytest.mark.slow
def test_a_killed_teacher_goes_on_from_its_last_epoch(line: Path, project: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, expected = trained(caplog)
    assert not FOLDER.exists(), "a short training is not kept"
    assert killed_in_the_middle(project)
    rest, found = trained(caplog)
    assert 0 < rest < whole == PARAMS["teacher"]["epochs"]
    assert found == expected
    assert not FOLDER.exists(), "a stage that has ended well needs no checkpoints"


@pytest.mark.slow
def test_other_inputs_and_a_damaged_file_begin_anew(line: Path, project: Path, caplog: pytest.LogCaptureFixture) -> None:
    (kept,) = killed_in_the_middle(project)
    cut_short = kept.read_bytes()[:100]
    Path("params.yaml").write_text(yaml.safe_dump(PARAMS | {"seed": 1}))
    assert trained(caplog)[0] == PARAMS["teacher"]["epochs"]
    assert not kept.exists()
    Path("params.yaml").write_text(yaml.safe_dump(PARAMS))
    kept.parent.mkdir(parents=True)
    kept.write_bytes(cut_short)
    assert trained(caplog)[0] == PARAMS["teacher"]["epochs"]
