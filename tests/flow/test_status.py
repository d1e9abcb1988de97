"""`slimline status`: what it knows of a real run, of one that died, and of nothing at all."""

import io
import json
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from flows.artifacts import TrainingBar
from flows.durations import DURATIONS, durations, keep_durations, left_s
from flows.events import Ended, Planned, Said, Started, tell
from flows.last_reports import keep_about, kept_reports, last_verdicts
from flows.running import RUNNING, runs_now, seen_by_others
from flows.status import screen, status_of
from flows.terminal import Screen
from slimline.params.files import USUAL
from slimline.progress import epoch_line
from tests.flow.prefect_api import API
from tests.flow.running import Project, clean_environment, sh
from tests.waiting import eventually


def shown(status) -> str:
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(screen(status))
    return console.export_text()


@pytest.mark.slow
def test_a_run_is_seen_while_it_goes_on_and_its_durations_are_kept(tmp_path, api):
    project = Project(tmp_path, api)
    project.hold("p50")
    process = project.start("--no-publish")
    project.wait_for("p50")
    found = json.loads(sh(sys.executable, "-m", "flows.status", "--json", cwd=project.root, env=project.env))
    (run,) = found["running"]
    assert run["stages"] == 4
    assert "prune@p50" in run["doing"]
    assert run["doing"]["prune@p50"]["left_s"] is None
    assert "first time" in shown(found)
    project.let_go()
    code, _, told = project.end(process)
    assert code == 0, told
    assert runs_now(project.root) == []
    assert set(durations(project.root, USUAL)) == {"teacher", "prune@p50", "quantize@q8", "report"}
    assert "runs  " not in sh(sys.executable, "-m", "flows.status", "--once", cwd=project.root, env=project.env)


def test_a_stage_says_how_long_it_will_take_and_what_it_does(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("{}")
    keep_durations(tmp_path, USUAL, {"teacher": 100.0})
    keep_durations(tmp_path, "params/table.yaml", {"teacher": 2.0})
    with seen_by_others(tmp_path, tmp_path, USUAL):
        tell(Planned(3, 1, str(tmp_path)))
        tell(Started("teacher"))
        tell(Said("teacher", epoch_line("teacher", 3, 30, 0.4, 0.9)))
        tell(Started("look"))
        (run,) = status_of(tmp_path)["running"]
        text = shown(status_of(tmp_path))
        tell(Ended("look", "Failed", 2.0))
        assert status_of(tmp_path)["running"][0]["failed"] == ["look"]
    assert run["doing"]["teacher"]["left_s"] == pytest.approx(100, abs=5)
    assert run["doing"]["teacher"]["epochs"] == {"done": 3, "total": 30}
    assert run["doing"]["look"]["epochs"] is None
    assert "1 min 39 s left" in text or "1 min 40 s left" in text
    assert "first time" in text
    assert durations(tmp_path, USUAL) == {"teacher": 100.0}
    assert durations(tmp_path, "params/table.yaml") == {"teacher": 2.0}


LONG_TRAINING = """
from prefect import flow
from flows import artifacts
from slimline.progress import epoch_line

@flow
def training():
    artifacts.EPOCHS_SECONDS = 0.0
    bar = artifacts.TrainingBar("teacher", "epochs-teacher")
    for line in ("begins", *(epoch_line("teacher", number, 4, 0.5, 0.9) for number in (1, 2, 3))):
        bar.hear(line)

training()
"""


def test_a_long_training_has_a_bar_in_prefect_that_its_epochs_move(tmp_path: Path, api: str) -> None:
    environment = clean_environment(tmp_path) | {"PREFECT_API_URL": api}
    sh(sys.executable, "-c", LONG_TRAINING, cwd=tmp_path, env=environment)
    (bar,) = API.post(f"{api}/artifacts/filter", json={"artifacts": {"key": {"any_": ["epochs-teacher"]}}}).json()
    assert (bar["type"], bar["data"], bar["description"]) == ("progress", 75.0, "teacher: epochs")


def report(folder: Path, verdict: str, started: str = "2026-11-01T02:00:00+00:00", workload: str = "digits") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    row = {"variant": "q8", "target": "onnxruntime", "verdict": verdict}
    told = {"schema": 1, "workload": workload, "run": {"started": started}, "variants": [row]}
    (folder / "summary.json").write_text(json.dumps(told))


def test_the_newest_verdicts_of_each_params_file_are_shown(tmp_path: Path) -> None:
    report(tmp_path / "reports", "reject")
    for name, file, verdict, workload in (
        ("old-ant", "params/table.yaml", "reject", "table"),
        ("new-ant", "params/table.yaml", "accept", "table"),
        ("night", USUAL, "inconclusive", "digits"),
    ):
        report(kept_reports(tmp_path, name), verdict, workload=workload)  # from the cache: the run that first made it began long ago
        keep_about(kept_reports(tmp_path, name), file, time.monotonic() - (100 if name == "old-ant" else 0))
    kept_reports(tmp_path, "broken").mkdir()
    keep_about(kept_reports(tmp_path, "broken"), "params/other.yaml", time.monotonic())
    (kept_reports(tmp_path, "broken") / "summary.json").write_text("[")
    found = {one["params_file"]: one for one in last_verdicts(tmp_path)}
    assert {file: one["workload"] for file, one in found.items()} == {USUAL: "digits", "params/table.yaml": "table"}
    assert found[USUAL]["inconclusive"] == 1
    assert found["params/table.yaml"]["accepted"] == ["q8-onnxruntime"]
    assert Path(found["params/table.yaml"]["report"]).parent.name == "new-ant"
    text = shown(status_of(tmp_path))
    assert "table (params/table.yaml)" in text
    assert "1 inconclusive" in text
    assert "reject" not in text


def test_a_run_in_a_clone_leaves_its_verdicts_for_the_screen(tmp_path, api):
    project = Project(tmp_path, api)
    code, _, told = project.run("--no-publish", "--isolated")
    assert code == 0, told
    [found] = status_of(project.root)["verdicts"]
    assert (found["params_file"], found["accepted"]) == (USUAL, ["q8-onnxruntime"])


def test_a_short_training_has_none() -> None:
    bar = TrainingBar("teacher", "epochs-teacher")
    for number in range(1, 41):
        bar.hear(epoch_line("teacher", number, 40, 0.5, 0.9))
    assert bar.artifact is None


def test_the_terminal_shows_the_epochs_of_a_stage_as_a_bar() -> None:
    written = io.StringIO()
    with Screen(Console(file=written, force_terminal=True, width=140)):
        tell(Planned(2, 0, "."))
        tell(Started("teacher"))
        tell(Started("look"))
        tell(Said("teacher", epoch_line("teacher", 3, 4, 0.5, 0.9)))
        tell(Said("look", "two samples go through"))
        assert eventually(lambda: "epoch 3 of 4" in written.getvalue())
    rows = written.getvalue().splitlines()
    assert any("epoch 3 of 4" in row and "\u2501" in row for row in rows)
    assert not any("two samples go through" in row and "\u2501" in row for row in rows)


def test_what_the_dead_left_is_removed_and_damage_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / RUNNING
    folder.mkdir(parents=True)
    (folder / "1.json").write_text(json.dumps({"process": "1:1.0", "file": USUAL, "since": 1.0, "doing": {}}))
    (folder / "2.json").write_text("{")
    assert runs_now(tmp_path) == []
    assert [path.name for path in folder.iterdir()] == ["2.json.damaged-1"]
    (tmp_path / DURATIONS).write_text("[1]")
    assert durations(tmp_path, USUAL) == {}
    assert left_s("teacher", 1.0, {}) is None
    assert left_s("teacher", 9.0, {"teacher": 5.0}) == 0.0


def test_with_nothing_there_it_says_so(tmp_path: Path) -> None:
    text = shown(status_of(tmp_path))
    assert "make up starts them" in text
    assert "no report yet" in text
