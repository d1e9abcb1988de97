"""The commands of a run: what a command that was killed leaves to read."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.engine import run_command, start_over, stop_all

AS_DVC_DOES = "import subprocess, sys; sys.exit(7 if subprocess.run([sys.executable, '-c', sys.argv[1]]).returncode else 0)"
A_STAGE = "import time; print('at work', flush=True); time.sleep(60)"


def test_a_command_that_was_killed_says_so(tmp_path: Path) -> None:
    heard: list[str] = []
    kill_itself = "import os, signal; print('at work', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    finished = run_command([sys.executable, "-c", kill_itself, "stage-x"], tmp_path, heard.append)
    assert finished.code == -9
    assert heard == ["at work", "error: SIGKILL ended stage-x; run again, finished stages are kept"]
    assert finished.tail == tuple(heard)


@pytest.fixture
def over_again():
    yield
    start_over()


def test_a_command_that_was_stopped_keeps_its_exit_code(tmp_path: Path, over_again: None) -> None:
    with ThreadPoolExecutor(2) as pool:
        command = pool.submit(run_command, [sys.executable, "-c", AS_DVC_DOES, A_STAGE], tmp_path, lambda _: pool.submit(stop_all))
        assert command.result(timeout=60).code == 7
