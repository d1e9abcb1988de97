"""One run at a time in a workspace: a lock that the kernel drops with its holder, and that names it."""

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from flows.environment import now_utc
from slimline.errors import BusyError
from slimline.storage.state_file import set_aside, state_folder_at

LOCK = Path(".dvc/tmp/slimline.lock")
CLONE_LOCK = ".lock"
"""Ends the name of a clone's lock, which lies beside the clone: it is held before there is a folder, and until there is none."""
CLONE_WAIT_S = 30.0
"""Who looks for abandoned clones holds a lock for as long as a removal takes."""
POLL_S = 0.05


@contextmanager
def workspace_lock(folder: Path) -> Iterator[None]:
    """Hold the workspace.

    Raises:
        BusyError: another run holds it; the message names the process, its command and since when.
    """
    with _taken(folder, folder / LOCK, 0) as stream:
        try:
            yield
        finally:
            stream.truncate(0)


@contextmanager
def clone_lock(folder: Path, wait_s: float = CLONE_WAIT_S) -> Iterator[None]:
    """Hold a clone from before it is made until after it is removed; the lock itself goes then.

    Raises:
        BusyError: as `workspace_lock`, after `wait_s`.
    """
    path = folder.with_name(folder.name + CLONE_LOCK)
    with _taken(folder, path, wait_s):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _taken(folder: Path, path: Path, wait_s: float) -> Iterator[TextIO]:
    """The file at `path`, locked and signed."""
    state_folder_at(path.parent)
    if path.is_dir():
        set_aside(path)
    end = time.monotonic() + wait_s
    while (stream := _locked(path)) is None:
        if time.monotonic() >= end:
            raise BusyError(_busy(folder, path))
        time.sleep(POLL_S)
    with stream:
        _sign(stream)
        yield stream


def _locked(path: Path) -> TextIO | None:
    """The file with its lock; None where somebody else has it, or removed it between our opening and our locking."""
    stream = path.open("a+", encoding="utf-8")
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
            return stream
    stream.close()
    return None


def _sign(stream: TextIO) -> None:
    stream.truncate(0)
    json.dump({"pid": os.getpid(), "command": " ".join(sys.argv), "since": now_utc()}, stream)
    stream.flush()


def _busy(folder: Path, path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        who = f"process {holder['pid']} ({holder['command']}) since {holder['since']}"
        remedy = f"wait for it, or stop it: kill {holder['pid']}"
    except (OSError, ValueError, KeyError, TypeError):
        who, remedy = "a process that has just started", "wait for it"
    return f"{folder}: another run holds this workspace: {who}; {remedy}"
