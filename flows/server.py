"""The Prefect API of a run: the lasting server of `make up`, or one that lives as long as the run.

Prefect can start such a server by itself, but loads the whole server into the flow's process for it and leaves it running when that
process is killed. This one is started beside the import of everything else, and the guard ends it with the flow.
"""

import atexit
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil

from flows.environment import prefect_home, state_folder
from flows.guard import guard
from flows.prefect_home import DATABASE, database_set_aside, healed_database
from flows.processes import stop_service
from slimline.errors import SlimlineError
from slimline.storage.state_file import state_folder_at

EPHEMERAL = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
}
START_SECONDS = 120.0
MIN_FREE_BYTES = 1 << 20
FULL = "database or disk is full"
_ERROR = re.compile(r"[a-z_]+(\.\w+)+: .+")
"""The last line of a traceback: the error's whole name, and what it says."""
_OF_DATABASE = ("sqlalchemy.", "alembic.", "sqlite3.")
started_here: list[str] = []
"""The addresses of the servers that this process has started."""


def server_command(port: int) -> list[str]:
    """Prefect's API as a plain process on this machine only."""
    factory = ["--factory", "prefect.server.api.server:create_app", "--lifespan", "on", "--log-level", "error"]
    return [sys.executable, "-m", "uvicorn", *factory, "--host", "127.0.0.1", "--port", str(port)]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect API answers there."""
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_until_healthy(api_url: str, poll: Callable[[], int | None], log: Path) -> None:
    """Wait for an answer; `poll` gives the exit code of the server's process once it has ended.

    Raises:
        SlimlineError: the process ended or did not answer in time; the message names its log.
    """
    deadline = time.monotonic() + START_SECONDS
    while not is_healthy(api_url):
        if poll() is not None or time.monotonic() > deadline:
            raise SlimlineError(f"Prefect's server does not answer (exit code {poll()}): {complaint(log)}")
        time.sleep(0.05)


def complaint(log: Path) -> str:
    """The last error that a server wrote, and what to do about it."""
    database = prefect_home(os.environ) / DATABASE
    error = _last_error(log)
    if FULL in error or shutil.disk_usage(log.parent).free < MIN_FREE_BYTES:
        return f"disk full while writing {database}; free some space and run again, finished stages are kept"
    anew = f"to begin a new database: mv {database} {database}.old"
    return f"{error or 'it said nothing'} ({log}); {anew}"


def _last_error(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return next((line[:200] for line in reversed(lines) if _ERROR.match(line)), "")


def temporary_log(project: Path) -> Path:
    """What the temporary server says."""
    return state_folder_at(state_folder(project) / "logs") / "prefect-temporary.log"


def start_temporary_server(project: Path, port: int | None = None) -> str:
    """Start a server, on a free port unless one is given, and give the address of its API; it ends with this process.

    Runs stay in Prefect's database below .slimline/, so the server of `make up` shows them too. A database that is damaged, or that
    this version of Prefect can make nothing of, is set aside. The end is left to atexit, which comes after Prefect has sent its last
    logs and events.

    Raises:
        SlimlineError: it does not start.
    """
    home = prefect_home(os.environ)
    log = temporary_log(project)
    healed_database(home)
    try:
        return _start(port or free_port(), log)
    except SlimlineError:
        error = _last_error(log)
        if not error.startswith(_OF_DATABASE) or FULL in error:
            raise
        database_set_aside(home)
        return _start(port or free_port(), log)


def _start(port: int, log: Path) -> str:
    with log.open("wb") as output:
        environment = {**os.environ, **EPHEMERAL}
        process = subprocess.Popen(server_command(port), env=environment, stdout=output, stderr=output, start_new_session=True)
    watched = guard().add(process.pid, in_order=False)
    atexit.register(_stop, process, watched)
    api_url = f"http://127.0.0.1:{port}/api"
    wait_until_healthy(api_url, process.poll, log)
    started_here.append(api_url)
    return api_url


def _stop(process: subprocess.Popen[bytes], watched: tuple[int, float] | None) -> None:
    if process.poll() is None:
        stop_service(psutil.Process(process.pid))
    process.wait()
    guard().drop(watched)
