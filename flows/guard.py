"""A small process that outlives the flow just long enough to end what a killed flow leaves behind.

`python -m flows.guard PID BORN` reads lines "+ PID BORN" (a `dvc repro`), "* PID BORN" (something else), "- PID BORN" (it has ended) and
"store PROJECT" on its standard input. The other end of that pipe is in the flow alone, so its end means that the flow is gone, kill -9
included; then every process still named is ended with all it started, every process that was started in the flow's name, and the
embedded S3 server if nobody else uses it.
"""

import atexit
import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import psutil

from flows.environment import PARENT, parent_mark
from flows.processes import all_at_once, find, identity, own_identity, stop_command, stop_service


def watch(lines: TextIO, flow: tuple[int, float]) -> None:
    """Keep the list up to date until the pipe closes, then end what is on it and what the flow did not live to put on it."""
    watched: dict[tuple[int, float], Callable[[psutil.Process], None]] = {}
    project = ""
    for line in lines:
        sign, _, rest = line.rstrip("\n").partition(" ")
        if sign == "store":
            project = rest
            continue
        pid, born = rest.split()
        name = int(pid), float(born)
        if sign == "-":
            watched.pop(name, None)
        else:
            watched[name] = stop_command if sign == "+" else stop_service
    all_at_once([functools.partial(end, process) for name, end in watched.items() if (process := find(*name))])
    if find(*flow) is None:
        all_at_once([functools.partial(stop_command, process) for process in _in_the_name_of(flow)])
    if project:
        _stop_store(Path(project))


def _in_the_name_of(flow: tuple[int, float]) -> Iterator[psutil.Process]:
    """What the flow had only just started, or what left its family: its environment names the flow."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(PARENT) == parent_mark(*flow):
                yield process


def _stop_store(project: Path) -> None:
    from slimline.storage.server import stop_unused

    stop_unused(project)


class Guard:
    """The flow's end of the pipe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores = 0
        pid, born = own_identity()
        command = [sys.executable, "-m", "flows.guard", str(pid), repr(born)]
        code = Path(__file__).parents[1]
        self._process = subprocess.Popen(command, cwd=code, stdin=subprocess.PIPE, bufsize=0, start_new_session=True)

    def add(self, pid: int, *, in_order: bool) -> tuple[int, float] | None:
        """Watch a process that has just been started: a `dvc repro`, which is stopped in order, or something else."""
        name = identity(pid)
        if name is not None:
            self._write(f"{'+' if in_order else '*'} {name[0]} {name[1]!r}")
        return name

    def drop(self, name: tuple[int, float] | None) -> None:
        """A watched process has ended by itself."""
        if name is not None:
            self._write(f"- {name[0]} {name[1]!r}")

    @contextlib.contextmanager
    def store(self, project: Path) -> Iterator[None]:
        """The embedded S3 server of this project is in use; the block itself stops it, unless it is not left in order."""
        self._stores += 1
        self._write(f"store {project}")
        yield
        self._stores -= 1
        if not self._stores:
            self._write("store ")

    def close(self) -> None:
        """Close the pipe and wait for the guard."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n".encode())  # unbuffered: what a dead guard did not take is not written again at the end


@functools.cache
def guard() -> Guard:
    """This process's guard, started with the first process that needs one."""
    started = Guard()
    atexit.register(started.close)
    return started


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watch(sys.stdin, (int(sys.argv[1]), float(sys.argv[2])))
