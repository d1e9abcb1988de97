"""A small process that outlives the flow just long enough to end what a killed flow leaves behind.

`python -m flows.guard` reads lines "+ PID BORN" and "- PID BORN" on its standard input. The other end of that pipe is in the flow
alone, so its end means that the flow is gone, kill -9 included; then every process still named is ended with all it started.
"""

import atexit
import contextlib
import functools
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TextIO

from flows.processes import find, identity, stop_command


def watch(lines: TextIO) -> None:
    """Keep the list up to date until the pipe closes, then end what is on it."""
    watched: set[tuple[int, float]] = set()
    for line in lines:
        sign, pid, born = line.split()
        (watched.add if sign == "+" else watched.discard)((int(pid), float(born)))
    for name in watched:
        process = find(*name)
        if process is not None:
            stop_command(process)


class Guard:
    """The flow's end of the pipe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        command = [sys.executable, "-m", "flows.guard"]
        code = Path(__file__).parents[1]
        self._process = subprocess.Popen(command, cwd=code, stdin=subprocess.PIPE, text=True, start_new_session=True)

    def add(self, pid: int) -> tuple[int, float] | None:
        """Watch a process that has just been started."""
        name = identity(pid)
        if name is not None:
            self._write("+", name)
        return name

    def drop(self, name: tuple[int, float] | None) -> None:
        """A watched process has ended by itself."""
        if name is not None:
            self._write("-", name)

    def close(self) -> None:
        """Close the pipe and wait for the guard."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _write(self, sign: str, name: tuple[int, float]) -> None:
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{sign} {name[0]} {name[1]!r}\n")
            self._process.stdin.flush()


@functools.cache
def guard() -> Guard:
    """This process's guard, started with the first process that needs one."""
    started = Guard()
    atexit.register(started.close)
    return started


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch(sys.stdin)
