"""Stage prune with lottery_ticket on the tabular workload: killed in the middle, it goes on from its finished rounds with equal bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from slimline.artifact.folder import checksums
from slimline.stage import stage_main
from slimline.workloads import get_workload
from tasks import prune, teacher
from tests.prepared_project import prepare_project

WORKLOAD = get_workload("tabular")
ROUNDS = 5
PARAMS: dict[str, Any] = {
    "workload": "tabular",
    "teacher": {"source": "train", "epochs": 8, "batch_size": 32},
    "prune": {
        "ticket": {
            "source": "teacher",
            "method": "lottery_ticket",
            "rounds": ROUNDS,
            "fraction": 0.3,
            "rewind_epoch": 1,
            "training": {"epochs": 6, "batch_size": 32},
            "control_rounds": [2, ROUNDS],
        }
    },
    "deploy": {"variants": ["teacher"], "targets": ["onnxruntime"]},
}


def prune_ticket() -> None:
    stage_main("prune", prune.main, None, ["--variant", "ticket"], per="variant")


def results() -> list[bytes]:
    """Every byte that the stage leaves."""
    pages = [Path(f"reports/stages/prune/ticket.{ending}") for ending in ("md", "html")]
    files = [Path("data/models/ticket/manifest.json"), Path("reports/metrics/prune/ticket.json"), *pages]
    return [file.read_bytes() for file in files] + [repr(checksums(Path("data/models/ticket"))).encode()]


def finished() -> dict[str, int]:
    """The rounds on disk, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in sorted(Path("data/checkpoints/ticket").rglob("*.safetensors"))}


@pytest.fixture(scope="module")
def line(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project folder with a teacher, in which the ticket has been made without a stop."""
    folder = tmp_path_factory.mktemp("lottery")
    prepare_project(folder, project, PARAMS, WORKLOAD)
    deterministic = torch.are_deterministic_algorithms_enabled()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stage_main("teacher", teacher.main, None, [])
        prune_ticket()
        yield folder
    torch.use_deterministic_algorithms(deterministic)


def test_the_page_and_the_metrics_tell_of_every_round(line: Path) -> None:
    metrics = json.loads(Path("reports/metrics/prune/ticket.json").read_text())
    found = metrics["lottery"]
    assert [one["round"] for one in found] == list(range(ROUNDS + 1))
    assert [round(one["left"], 2) for one in found] == [1.0, 0.7, 0.49, 0.34, 0.24, 0.17]
    assert {one["round"] for one in found if one["random_ticket"] is not None} == {2, ROUNDS}
    assert found[-1]["ticket"] == metrics["validation"]["accuracy"] > 0.8
    page = Path("reports/stages/prune/ticket.md").read_text()
    assert "5 rounds: the smallest 30% of the weights still there go" in page
    assert "10 trainings, " in page
    assert "random ticket" in Path("reports/stages/prune/ticket.html").read_text()


@pytest.mark.slow
def test_a_killed_stage_goes_on_from_its_rounds_with_equal_bytes(line: Path, project: Path) -> None:
    expected = results()
    assert not Path("data/checkpoints/ticket").exists(), "rounds are removed once the stage has ended well"
    shutil.rmtree("data/models/ticket")
    environment = os.environ | {"PYTHONPATH": str(project)}
    with subprocess.Popen([sys.executable, "-m", "tasks.prune", "--variant", "ticket"], env=environment) as process:
        while "round-002.safetensors" not in finished() and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    before = finished()
    assert process.returncode == -signal.SIGKILL
    assert 3 <= len(before) <= ROUNDS
    assert not Path("data/models/ticket").exists()

    kept: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.checkpoints.CheckpointFiles.clear", lambda _rounds: kept.update(finished()))
        prune_ticket()
    assert {name: kept[name] for name in before} == before, "a finished round was trained again"
    assert len(kept) == ROUNDS + 1
    assert results() == expected
