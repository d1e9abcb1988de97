"""The part of `slimline check --deep` that starts processes: the data prepared, then every trial on the untrained net."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from slimline.errors import InputError, SlimlineError

PREPARING = ("-m", "dvc", "repro", "--single-item", "data")
TRYING = ("-m", "tasks.deep")
ONLY_VARIANTS = "--variants"
REFUSED = "refused"


def trials(root: Path, *, only_variants: bool = False) -> list[dict[str, Any]]:
    """What was tried on the untrained net of a project: {what, outcome, said, seconds} each; prepared data is made anew where it is stale.

    With `only_variants` nothing is compiled.

    Raises:
        InputError: the project has no stages of its own to try, or the data or the workload is wrong.
        SlimlineError: a process ended otherwise.
    """
    if not (root / "tasks/deep.py").is_file():
        raise InputError(f"{root}: no tasks/deep.py; `slimline check --deep` works in a clone of the Slimline project")
    _called(root, PREPARING)
    found: list[dict[str, Any]] = json.loads(_called(root, (*TRYING, *([ONLY_VARIANTS] if only_variants else []))).splitlines()[-1])
    return found


def problems_of(tried: list[dict[str, Any]]) -> list[str]:
    """What cannot work, a line each."""
    return [line for trial in tried if trial["outcome"] == REFUSED for line in trial["said"].splitlines()]


def table(tried: list[dict[str, Any]]) -> str:
    """What was tried, the seconds that it took, and how it ended."""
    return "".join(f"{trial['seconds']:6.1f} s  {trial['what']}: {trial['outcome']}{_reason(trial)}\n" for trial in tried)


def _reason(trial: dict[str, Any]) -> str:
    return f" ({trial['said']})" if trial["said"] and trial["outcome"] != REFUSED else ""


def _called(root: Path, arguments: tuple[str, ...]) -> str:
    """The standard output of a process, for which `python` is this one; what it says beside it is kept for where it fails."""
    found = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=os.environ | {"PATH": found}, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return done.stdout
    lines = [line for line in (*done.stdout.splitlines(), *done.stderr.splitlines()) if line.strip()]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")] or lines[-1:]
    refused = InputError if any(line.startswith("error: ") for line in lines) else SlimlineError
    raise refused("\n".join(said) or f"{' '.join(arguments)} ended with code {done.returncode}")
