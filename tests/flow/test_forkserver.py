"""Stages forked from a process that has their imports: the same results, codes, names and ends as by `python -m dvc`."""

import copy
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from dvc.utils.serialize import dumps_yaml
from dvc.utils.serialize._yaml import parse_yaml_for_update

from flows.engine import Finished, heard, start_over, stop_all
from flows.forked import ForkServer
from flows.forkserver import is_python_of_ours, spliced
from tests.flow.running import Project
from tests.waiting import eventually

REPRO = ("--wait-for-lock", "repro", "--single-item")
ENTRY = {"cmd": "python -m tasks.b", "deps": [{"path": "b.py", "md5": "0" * 32}], "params": {"params.yaml": {"b": [1, {"c": "yes"}]}}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path, None)
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def server(project: Project) -> Iterator[ForkServer]:
    started = ForkServer(("dvc.cli", *(f"a_module_that_nobody_has_{number}" for number in range(4))))
    assert eventually(started._ready, 60)
    yield started
    started.close()
    start_over()
    assert eventually(lambda: not left(project), 15), left(project)


def left(project: Project) -> list[psutil.Process]:
    """All but the guard of this very process."""
    return [process for process in project.processes() if "flows.guard" not in " ".join(process.cmdline())]


def forked(server: ForkServer, project: Project, stage: str, on_line=lambda _: None) -> Finished:
    process = server.repro([*REPRO, stage], project.root)
    assert process is not None
    return heard(process, stage, on_line, in_order=True)


@pytest.mark.slow
def test_a_forked_stage_is_what_dvc_alone_makes(project: Project, server: ForkServer) -> None:
    names = ("teacher", "prune@p50", "quantize@q8", "report")
    first, *rest = (forked(server, project, name) for name in names)
    assert first.code == 0
    assert "teacher works" in first.tail
    assert [finished.code for finished in rest] == [0, 0, 0]
    lock = (project.root / "dvc.lock").read_bytes()
    assert "Stage 'teacher' didn't change, skipping" in forked(server, project, "teacher").tail
    assert "works" not in project.dvc("repro")
    project.dvc("repro", "--force")
    assert (project.root / "dvc.lock").read_bytes() == lock


@pytest.mark.parametrize("code", [2, -9])
def test_the_stages_own_code_is_told(project: Project, server: ForkServer, code: int) -> None:
    project.fail("teacher", code)
    finished = forked(server, project, "teacher")
    assert (finished.code, finished.stage_code) == (255, code)
    assert project.dvc("status").count("changed") > 0


def test_processes_bear_the_names_of_what_they_are(project: Project, server: ForkServer) -> None:
    project.hold("teacher")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(forked, server, project, "teacher")
        project.wait_for("teacher")
        [pid] = project.stage_pids("teacher")
        stage = psutil.Process(pid)
        repro = stage.parent()
        project.let_go()
        assert repro is not None
        called = [" ".join(process.cmdline()).strip() for process in (stage, repro)]
        assert [text.partition(" ")[2] for text in called] == [
            "-m tasks.dummy teacher 0.2",
            "-m dvc --wait-for-lock repro --single-item teacher",
        ]
        assert stage.environ()["TINY_LOG"] == project.env["TINY_LOG"]
        assert running.result(60).code == 0


def test_a_stop_ends_the_stage_and_dvc_clears_its_locks(project: Project, server: ForkServer) -> None:
    project.hold("teacher")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(forked, server, project, "teacher")
        project.wait_for("teacher")
        began = time.monotonic()
        stop_all()
        finished = running.result(60)
    assert finished.stage_code == -signal.SIGTERM
    assert time.monotonic() - began < 8
    assert json.loads((project.root / ".dvc/tmp/rwlock").read_text()) == {}


def test_a_server_that_is_killed_costs_no_stage(project: Project, server: ForkServer) -> None:
    project.hold("teacher")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(forked, server, project, "teacher")
        project.wait_for("teacher")
        server._process.kill()
        project.let_go()
        assert running.result(60).code == -signal.SIGKILL
    assert server.repro([*REPRO, "teacher"], project.root) is None
    assert "didn't change" in project.dvc("repro", "teacher")


def test_a_flow_that_is_killed_leaves_neither_server_nor_stage(project: Project) -> None:
    project.hold("teacher")
    flow = f"""
import pathlib, time
from flows.environment import mark_as_parent
from flows.forked import ForkServer
from flows.engine import heard
from flows.processes import own_identity
import os
mark_as_parent(os.environ, *own_identity())
server = ForkServer(["dvc.cli"])
while not server._ready():
    time.sleep(0.1)
heard(server.repro({[*REPRO, "teacher"]!r}, pathlib.Path(".")), "teacher", print, in_order=True)
"""
    run = subprocess.Popen([sys.executable, "-c", flow], cwd=project.root, env=project.env, stdout=subprocess.DEVNULL)
    project.wait_for("teacher")
    run.kill()
    run.wait()
    assert eventually(lambda: not left(project), 20), left(project)


def test_only_a_module_for_this_python_is_forked() -> None:
    ours = {"PATH": str(Path(sys.executable).parent)}
    assert is_python_of_ours("python -m tasks.prune --variant channels50", ours)
    assert not is_python_of_ours("python -m tasks.prune --variant 'a b'", ours)
    assert not is_python_of_ours("cat a > b && python -m tasks.prune", ours)
    assert not is_python_of_ours("python -m tasks.prune", {"PATH": "/nonexistent"})


@pytest.mark.parametrize("known", [["a", "b", "c"], ["a", "c"], ["b"], ["c", "a", "b"]])
def test_an_entry_is_put_where_dvc_puts_it(known: list[str]) -> None:
    old = ENTRY | {"cmd": "python -m tasks.old"}
    text = dumps_yaml({"schema": "2.0", "stages": {name: copy.deepcopy(old) for name in known}})
    after = parse_yaml_for_update(text, "dvc.lock")  # as DVC reads what it changes
    after["stages"]["b"] = ENTRY
    assert spliced(text, "b", dumps_yaml({"stages": {"b": ENTRY}})) == dumps_yaml(after)


def test_what_dvc_would_not_write_so_is_left_to_dvc() -> None:
    entry = dumps_yaml({"stages": {"b": ENTRY}})
    shared = {"c": 1}
    for text in ("", "stages: {}\n", "schema: '2.0'\nstages:\n  a:\n    cmd: x\ndatasets: []\n"):
        assert spliced(text, "b", entry) is None
    assert spliced("schema: '2.0'\nstages:\n", "b", dumps_yaml({"stages": {"b": {"one": shared, "two": shared}}})) is None
