"""The commands of a run: what a command that was killed leaves to read."""

import sys
from pathlib import Path

from flows.engine import run_command


def test_a_command_that_was_killed_says_so(tmp_path: Path) -> None:
    heard: list[str] = []
    kill_itself = "import os, signal; print('at work', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    finished = run_command([sys.executable, "-c", kill_itself, "stage-x"], tmp_path, heard.append)
    assert finished.code == -9
    assert heard == ["at work", "error: SIGKILL ended stage-x; run again, finished stages are kept"]
    assert finished.tail == tuple(heard)
