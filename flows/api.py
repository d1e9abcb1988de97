"""Prefect's API while a run goes on: what happens where it ends before the run does.

A server of ours is started anew at its address, on the same database, and the run goes on as if nothing had been. Where that is not
possible the run goes on without: stages are DVC's, and a UI that is gone is no reason to lose them.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
from prefect.exceptions import PrefectException

from flows.events import Noted, tell
from flows.server import start_temporary_server
from slimline.errors import SlimlineError

NO_ANSWER = (httpx.HTTPError, PrefectException)
"""What Prefect's client raises where the API is gone or says no."""
RETRIES = 2
"""2 + 4 s until one call to an API that has just gone gives up; Prefect's own 5 would be a minute."""
RESTARTS = 3
LOOK_SECONDS = 1.0
BACK_SECONDS = 25.0
GONE = "Prefect's server has ended and does not come back: the run goes on without, and no UI will show how it ended"
Answer = TypeVar("Answer")
_is_there = threading.Event()
_is_gone = threading.Event()
_is_there.set()


@contextmanager
def kept_up(api_url: str, project: Path, *, is_ours: bool) -> Iterator[None]:
    """For the length of the block look after the API: a server `is_ours` where this project started it on this machine."""
    left = threading.Event()
    threading.Thread(target=_look_after, args=(api_url, project, left, RESTARTS if is_ours else 0), daemon=True).start()
    try:
        yield
        reachable()  # the last state of the run is still to be told
    finally:
        left.set()


def reachable() -> bool:
    """Whether a call to the API makes sense; while a new server starts, wait for it."""
    return _is_there.wait(BACK_SECONDS) and not _is_gone.is_set()


def attempt(call: Callable[[], Answer]) -> Answer | None:
    """What the UI shows beside states is not what the run is for: None where the API does not answer."""
    if not reachable():
        return None
    try:
        return call()
    except NO_ANSWER as error:
        tell(Noted(f"Prefect's API does not answer ({' '.join(str(error).split())[:120]}); the run goes on, a page is missing in the UI"))
        return None


def _look_after(api_url: str, project: Path, left: threading.Event, restarts: int) -> None:
    while _listens(api_url):
        if left.wait(LOOK_SECONDS):
            return
    if left.is_set():
        return
    if restarts and _started_anew(api_url, project):
        _look_after(api_url, project, left, restarts - 1)
    else:
        tell(Noted(GONE))
        _is_gone.set()


def _started_anew(api_url: str, project: Path) -> bool:
    tell(Noted("Prefect's server has ended; a new one takes its place, the run goes on"))
    _is_there.clear()
    try:
        start_temporary_server(project, urlsplit(api_url).port)
    except SlimlineError as error:
        tell(Noted(str(error)))
        return False
    else:
        return True
    finally:
        _is_there.set()


def _listens(api_url: str) -> bool:
    place = urlsplit(api_url)
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        with socket.create_connection((place.hostname or "", port), timeout=2 * LOOK_SECONDS):
            return True
    except TimeoutError:  # it is busy
        return True
    except OSError:
        return False
