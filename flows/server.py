"""The Prefect API of a run: the lasting server of `make up`, or one that lives as long as the run.

Prefect can start such a server by itself, but loads the whole server into the flow's process for it and leaves it running when that
process is killed. This one is started beside the import of everything else, and the guard ends it with the flow.
"""

import atexit
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from flows.environment import prefect_home, state_folder
from flows.guard import guard
from flows.prefect_home import database_set_aside, healed_database
from flows.processes import stop_service
from slimline.errors import SlimlineError
from slimline.state_file import state_folder_at

EPHEMERAL = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}
START_SECONDS = 120.0
NO_DATABASE = ("sqlalchemy", "alembic", "sqlite3")
"""What the server's last words hold where it could make nothing of its database."""


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


def wait_until_healthy(api_url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the first answer.

    Raises:
        SlimlineError: the process ended or did not answer in time; the message names its log.
    """
    deadline = time.monotonic() + START_SECONDS
    while not is_healthy(api_url):
        if process.poll() is not None or time.monotonic() > deadline:
            said = last_words(log)
            raise SlimlineError(f"Prefect's server did not start (exit code {process.poll()}): {said}; see {log}, or free {log.parents[1]}")
        time.sleep(0.05)


def last_words(log: Path) -> str:
    """The last line that a server wrote before it ended."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:240] if lines else "it said nothing"


def start_temporary_server(project: Path, port: int | None = None) -> str:
    """Start a server, on a free port unless one is given, and give the address of its API; it ends with this process.

    Runs stay in Prefect's database below .slimline/, so the server of `make up` shows them too. A database that is damaged, or that
    this version of Prefect can make nothing of, is set aside. The end is left to atexit, which comes after Prefect has sent its last
    logs and events.

    Raises:
        SlimlineError: it does not start.
    """
    home = prefect_home(os.environ)
    log = state_folder_at(state_folder(project) / "logs") / "prefect-temporary.log"
    healed_database(home)
    try:
        return _start(port or free_port(), log)
    except SlimlineError:
        if not any(word in last_words(log) for word in NO_DATABASE):
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
    wait_until_healthy(api_url, process, log)
    return api_url


def _stop(process: subprocess.Popen[bytes], watched: tuple[int, float] | None) -> None:
    if process.poll() is None:
        stop_service(psutil.Process(process.pid))
    process.wait()
    guard().drop(watched)
