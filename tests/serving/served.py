"""A server in a process of its own, on a free port."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx

PROJECT = Path(__file__).parents[2]
STOP_S = 30
MAIN = "from slimline.cli import main; main()"


@dataclass
class Served:
    """Where it answers, its process, and the lines that it has logged."""

    url: str
    process: "subprocess.Popen[str]"
    lines: list[str]

    def post(self, path: str, body: object) -> httpx.Response:
        """One request."""
        return httpx.post(self.url + path, json=body, timeout=300)

    def stopped(self, number: int = signal.SIGTERM) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(STOP_S)


@contextmanager
def serving(*arguments: str | Path, code: str | None = None) -> Iterator[Served]:
    """`slimline serve …` while the block runs; `code` is what runs in its place."""
    begin = [sys.executable, "-c", code or MAIN, "serve"]
    command = [*begin, *map(str, arguments), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(command, cwd=PROJECT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line.rstrip())
        if found := re.search(r"^serving .* at (http://\S+);", line):
            break
    else:
        raise AssertionError(f"it did not start: {lines}")
    reader = Thread(target=lambda: lines.extend(line.rstrip() for line in process.stderr or ()), daemon=True)
    reader.start()
    try:
        yield Served(found[1], process, lines)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(STOP_S)
        reader.join(STOP_S)
