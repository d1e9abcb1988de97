"""The environment of every process of a run: state below the project, nothing phones home, fixed seeds and waiting threads."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from flows.prefect_home import prepared_home
from slimline.errors import InputError
from slimline.project import find_project

PARENT = "SLIMLINE_PARENT"
PROJECT = "SLIMLINE_PROJECT"
EXPERIMENTS = "SLIMLINE_EXPERIMENTS"
"""Names the git remote that is given every experiment; set where nobody looks into the machine's own clone."""
ALERT_TOKEN = "SLIMLINE_ALERT_TOKEN"
"""A random word in the address of the service of alerts, by which it knows Prefect's server from others on this machine."""
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "NNCF_CI": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
REPRODUCIBLE = {"PYTHONHASHSEED": "0", "OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}
PREFECT = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


def state_folder(project: Path) -> Path:
    """What this machine keeps for the project outside git: Prefect's database, the embedded S3, pids and logs."""
    return project / ".slimline"


def prefect_home(environment: Mapping[str, str]) -> Path:
    """Where Prefect keeps its database and profiles."""
    return Path(environment["PREFECT_HOME"])


def defaults(project: Path) -> dict[str, str]:
    """What a run's processes find in their environment unless the user has set it."""
    return {**QUIET, **REPRODUCIBLE, **PREFECT, "PREFECT_HOME": str(state_folder(project) / "prefect"), PROJECT: str(project)}


def prepare(environment: MutableMapping[str, str]) -> None:
    """Add the defaults, and put this Python's folder first on PATH, so that `python` in dvc.yaml is this one.

    Outside a project nothing but the PATH changes.
    """
    programs = str(Path(sys.executable).parent)
    path = [part for part in environment.get("PATH", os.defpath).split(os.pathsep) if part != programs]
    environment["PATH"] = os.pathsep.join([programs, *path])
    try:
        project = find_project()
    except InputError:
        return
    for name, value in defaults(project).items():
        environment.setdefault(name, value)
    prepared_home(prefect_home(environment))


def mark_as_parent(environment: MutableMapping[str, str], pid: int, born: float) -> None:
    """Name the process whose end also ends everything that it started."""
    environment[PARENT] = parent_mark(pid, born)


def parent_mark(pid: int, born: float) -> str:
    """How SLIMLINE_PARENT names a process."""
    return f"{pid}:{born}"


@contextmanager
def added(extra: Mapping[str, str]) -> Iterator[None]:
    """Put more variables into this process's environment for the length of a block; child processes see them."""
    before = {name: os.environ.get(name) for name in extra}
    os.environ.update(extra)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def now_utc() -> str:
    """The time for messages and records, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
