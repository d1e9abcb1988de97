"""The guard of a flow is a process like any other: whoever kills it, the flow goes on."""

import subprocess
import sys
from pathlib import Path

ALONE = """
import os, signal
from pathlib import Path
from flows.guard import guard
found = guard()
os.kill(found._process.pid, signal.SIGKILL)
found._process.wait()
with found.store(Path("project")):
    found.drop(found.add(os.getpid(), in_order=False))
print("goes on")
"""


def test_a_flow_whose_guard_was_killed_goes_on_and_ends_without_a_word(project: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=project, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on\n", "")
