"""One run at a time in a workspace: a lock that the kernel drops with its holder, and that names it."""

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from flows.environment import now_utc
from slimline.errors import BusyError
from slimline.storage.state_file import set_aside, state_folder_at

LOCK = Path(".dvc/tmp/slimline.lock")


@contextmanager
def workspace_lock(folder: Path) -> Iterator[None]:
    """Hold the workspace.

    Raises:
        BusyError: another run holds it; the message names the process, its command and since when.
    """
    path = folder / LOCK
    state_folder_at(path.parent)
    if path.is_dir():
        set_aside(path)
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(_busy(folder, stream)) from None
        _sign(stream)
        try:
            yield
        finally:
            stream.truncate(0)


def is_held(folder: Path) -> bool:
    """Whether a run works in this folder now."""
    path = folder / LOCK
    if not path.is_file():
        return False
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _sign(stream: TextIO) -> None:
    stream.truncate(0)
    json.dump({"pid": os.getpid(), "command": " ".join(sys.argv), "since": now_utc()}, stream)
    stream.flush()


def _busy(folder: Path, stream: TextIO) -> str:
    stream.seek(0)
    try:
        holder = json.loads(stream.read())
        who = f"process {holder['pid']} ({holder['command']}) since {holder['since']}"
        remedy = f"wait for it, or stop it: kill {holder['pid']}"
    except (ValueError, KeyError, TypeError):
        who, remedy = "a process that has just started", "wait for it"
    return f"{folder}: another run holds this workspace: {who}; {remedy}"
