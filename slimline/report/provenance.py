"""Which run made a report: commit, start and duration."""

import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from slimline.errors import SlimlineError
from slimline.report.working_tree import NOT_CODE, checksum, uncommitted

STARTED = "SLIMLINE_RUN_STARTED"
"""Set by the flow: seconds since 1970 at which the run started."""


def run_facts(root: Path, params_sha256: str) -> dict[str, Any]:
    """Commit, what differs from it, checksum of the params, start (ISO 8601, UTC), seconds since then.

    `git_changes` is the checksum of changed and new files, parameters aside: null where there are none, or where git does not say.
    """
    started = float(os.environ.get(STARTED) or _oldest_dvc(psutil.Process()))
    commit = _git(root, "rev-parse", "HEAD")
    changes = _changes(root) if commit else ""
    return {
        "git": commit or None,
        "git_dirty": changes != "",
        "git_changes": changes or None,
        "params_sha256": params_sha256,
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "seconds": round(max(0.0, time.time() - started), 1),
    }


def _oldest_dvc(process: psutil.Process) -> float:
    """When the `dvc repro` that this process belongs to started; without one, when the process itself did."""
    born = process.create_time()
    for parent in process.parents():
        try:
            if any(Path(word).name == "dvc" for word in parent.cmdline()[:3]):
                born = parent.create_time()
        except psutil.Error:
            continue
    return born


def _changes(root: Path) -> str | None:
    """The checksum of what the commit does not hold; empty where it holds all, None where that cannot be known."""
    try:
        names = uncommitted(root, *NOT_CODE)
        return checksum(root, names) if names else ""
    except (SlimlineError, OSError):
        return None


def _git(root: Path, *arguments: str) -> str:
    """What git says, or nothing where there is no git or no commit."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False, timeout=20)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
