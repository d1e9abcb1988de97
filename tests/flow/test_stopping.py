"""What a stop leaves: nothing that runs, nothing published. And what does not stop a run: damaged state, a Prefect server that dies."""

import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import httpx
import psutil
import pytest

from flows.api import GONE, attempt, kept_up
from flows.events import Noted
from tests.flow.running import REPO, SLIMLINE_RUN, Project
from tests.waiting import eventually

pytestmark = pytest.mark.slow

DAMAGE = {
    "prefect/prefect.db": b"no database" * 1000,
    "prefect/profiles.toml": b"\xff\xfe[[[",
    "services.json": b"[1, 2",
    "s3/s3.json": b"\xff",
    "s3/state.json": b"7",
    "s3/leases/hold": b"\xfe",
}


@pytest.fixture
def started():
    """Call it with a project and where it is to be held: the run as a user starts it, at work there."""
    runs = []

    def start(project, held, command=SLIMLINE_RUN):
        project.hold(held)
        runs.append((project, project.start(command=command)))
        project.wait_for(held, 120)
        return runs[-1][1]

    yield start
    for project, run in runs:
        run.kill()
        run.communicate()
        assert eventually(lambda project=project: not project.processes(), 30)


def ended(project, run, seconds):
    """How it ended, once everything that it started has ended too."""
    run.communicate(timeout=seconds)
    assert eventually(lambda: not project.processes(), seconds), project.processes()
    return run.returncode


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signal_to_slimline_run_while_it_publishes_ends_all_of_it(tmp_path, api, started, number, code):
    project = Project(tmp_path, api)
    run = started(project, "publish")
    os.kill(run.pid, number)
    assert ended(project, run, 20) == code
    assert not (project.root / "reports/releases.json").exists()


def test_the_end_of_make_ends_the_run(tmp_path, api, started):
    project = Project(tmp_path, api)
    makefile = (REPO / "Makefile").read_text().replace("run: setup", "run:").replace("$(BIN)/slimline run", "$(RUN)")
    (project.folder / "Makefile").write_text(makefile)
    shell = " ".join(f"'{part}'" for part in (*SLIMLINE_RUN, "--json"))
    project.hold("p50")
    command = ["make", "-s", "-f", str(project.folder / "Makefile"), "run", f"RUN={shell}"]
    make = subprocess.Popen(command, cwd=project.root, env=project.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    project.wait_for("p50", 120)
    make.kill()
    assert ended(project, make, 30) == -9


def test_a_second_interrupt_is_in_a_hurry(tmp_path, api, started):
    project = Project(tmp_path, api)
    (project.control / "p50.deaf").touch()
    run = started(project, "p50")
    began = time.monotonic()
    os.kill(run.pid, signal.SIGINT)
    time.sleep(1)
    os.kill(run.pid, signal.SIGINT)
    assert ended(project, run, 20) == 130
    assert time.monotonic() - began < 8, "it waited for the end of the grace"


def test_damaged_state_and_a_prefect_server_that_dies_cost_nothing(tmp_path, started):
    project = Project(tmp_path, None)
    state = project.root / ".slimline"
    for name, content in DAMAGE.items():
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_bytes(content)
    run = started(project, "p50")
    [server] = [child for child in psutil.Process(run.pid).children() if "uvicorn" in " ".join(child.cmdline())]
    server.kill()
    time.sleep(1)
    project.let_go()
    code, outcome, shown = project.end(run)
    assert (code, set(outcome["stages"].values())) == (0, {"Completed"}), shown
    assert "a new one takes its place, the run goes on" in shown
    for name, content in DAMAGE.items():
        assert (state / f"{name}.damaged-1").read_bytes() == content, name
    with sqlite3.connect(state / "prefect/prefect.db") as database:
        assert database.execute("SELECT state_type FROM flow_run").fetchall() == [("COMPLETED",)]
    assert project.processes() == []


def test_an_api_of_others_that_ends_is_told_and_not_waited_for(tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr("flows.events.listeners", [heard.append])
    monkeypatch.setattr("flows.api._is_gone", threading.Event())
    with socket.create_server(("127.0.0.1", 0)) as server:
        api_url = f"http://127.0.0.1:{server.getsockname()[1]}/api"
        with kept_up(api_url, tmp_path, is_ours=False):
            assert attempt(lambda: 7) == 7
            server.close()
            assert eventually(lambda: heard, 5)
            assert attempt(lambda: pytest.fail("a call was made to an API that is gone")) is None
    assert heard == [Noted(GONE)]


def test_a_call_that_is_refused_costs_a_page_and_not_the_run(monkeypatch):
    heard = []
    monkeypatch.setattr("flows.events.listeners", [heard.append])

    def refused():
        raise httpx.ConnectError("refused")

    assert attempt(refused) is None
    assert "a page is missing in the UI" in heard[0].text
