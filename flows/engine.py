"""Runs the commands of a stage: live lines, a session of its own, and nothing left behind when the run is stopped."""

import functools
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import psutil

from flows.events import Noted, tell
from flows.guard import guard
from flows.processes import all_at_once, find, stop_command, stop_service
from flows.signals import ending

STOPPING = threading.Event()
HURRY = threading.Event()
TAIL_LINES = 20
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_EXITED = re.compile(r"exited with (-?\d+)\s*$")
_running: dict[int, Callable[[], None]] = {}
_lock = threading.Lock()


class Process(Protocol):
    """What is needed of a command that has been started, by subprocess or by the fork server."""

    pid: int
    stdout: IO[bytes] | None

    def wait(self) -> int:
        """Its exit code."""


@dataclass(frozen=True)
class Finished:
    """How a command ended, and the last lines that it wrote."""

    code: int
    tail: tuple[str, ...]

    @property
    def stage_code(self) -> int | None:
        """The exit code of the stage's own command inside `dvc repro`; None where DVC failed before or after it."""
        return next((int(match[1]) for line in reversed(self.tail) if (match := _EXITED.search(line))), None)


def run_command(command: Sequence[str], folder: Path, on_line: Callable[[str], object], *, in_order: bool = True) -> Finished:
    """Run to the end and pass on every line of output as it comes.

    The command gets a process group of its own; `stop_all` and the guard know it for as long as it runs. A `dvc repro` is stopped
    `in_order`; what sends or fetches is stopped at once, so that nothing is published after a stop.
    """
    return heard(started(command, folder), command[-1], on_line, in_order=in_order)


def started(command: Sequence[str], folder: Path) -> Process:
    """A process of its own, in a session of its own."""
    return subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def heard(process: Process, called: str, on_line: Callable[[str], object], *, in_order: bool) -> Finished:
    """Pass on every line of a process that has just been started, and wait for its end."""
    name = guard().add(process.pid, in_order=in_order)
    handle = find(*name) if name else None
    stop = functools.partial(_stop, handle, in_order=in_order)
    with _lock:
        _running[process.pid] = stop
    try:
        if STOPPING.is_set():
            stop()
        with ExitStack() as broken_off:  # by a signal in the main thread, which runs publish and push
            broken_off.callback(stop)
            finished = _heard(process, called, on_line)
            broken_off.pop_all()
        return finished
    finally:
        if process.stdout is not None:
            process.stdout.close()
        with _lock:
            _running.pop(process.pid, None)
        guard().drop(name)


def _heard(process: Process, name: str, on_line: Callable[[str], object]) -> Finished:
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    assert process.stdout is not None
    for raw in process.stdout:
        if line := readable(raw):
            tail.append(line)
            on_line(line)
    code = process.wait()
    if code < 0:
        tail.append(f"error: {signal.Signals(-code).name} ended {name}; run again, finished stages are kept")
        on_line(tail[-1])
    return Finished(code, tuple(tail))


def readable(raw: bytes) -> str:
    """One line without colours, and of a progress bar only what it showed last."""
    text = _ESCAPES.sub("", raw.decode("utf-8", errors="replace")).rstrip("\r\n")
    return text.rsplit("\r", 1)[-1].rstrip()


def stop_all() -> None:
    """End every running command, all at once; commands that start later end at once, until `start_over`."""
    STOPPING.set()
    with _lock:
        stops = list(_running.values())
    if stops:
        tell(Noted("stopping: the running commands end in order, at most 10 s; the same again ends them at once"))
    with ending(HURRY.set):
        all_at_once(stops)


@contextmanager
def stopped_on_the_way_out() -> Iterator[None]:
    """Whatever breaks off the block ends its commands first, before anything that they work with is put away."""
    with ExitStack() as broken_off:
        broken_off.callback(stop_all)
        yield
        broken_off.pop_all()


def start_over() -> None:
    """A new run begins in this process."""
    STOPPING.clear()
    HURRY.clear()


def _stop(handle: psutil.Process | None, *, in_order: bool) -> None:
    if handle is not None:
        with ending(HURRY.set):
            stop_command(handle, HURRY.is_set) if in_order else stop_service(handle)
