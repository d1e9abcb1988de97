"""What a run is doing now, for others to see: .slimline/running/PID.json while it goes on, and how long its stages took when it ends."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flows.durations import keep_durations
from flows.events import Ended, Event, Planned, Said, Started, listeners
from slimline.artifact.folder import write_json
from slimline.storage.leases import is_alive, process_mark
from slimline.storage.state_file import read_state

RUNNING = ".slimline/running"
LINES_EVERY_S = 1.0
LINE_WIDTH = 120


@dataclass
class Doing:
    """A stage at work: since when (seconds since 1970), and the last line it wrote."""

    since: float
    line: str = ""


@dataclass
class Run:
    """A run as others see it: its process, its folder, its params file, since when, how many stages it has and how many have ended."""

    process: str
    folder: str
    file: str
    since: float
    stages: int = 0
    done: int = 0
    doing: dict[str, Doing] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


class Recorder:
    """Listens to a run's events, from whichever thread, and keeps its file."""

    def __init__(self, project: Path, folder: Path, file: str) -> None:
        self.run = Run(process_mark(), str(folder), file, time.time())
        self.seconds: dict[str, float] = {}
        self.path = project / RUNNING / f"{os.getpid()}.json"
        self._lock, self._written = threading.Lock(), 0.0

    def hear(self, event: Event) -> None:
        """Take one event in."""
        with self._lock:
            match event:
                case Planned(stages, _, _):
                    self.run.stages, self.run.done = stages, 0
                case Started(stage):
                    self.run.doing[stage] = Doing(time.time())
                case Said(stage, line) if stage in self.run.doing:
                    self.run.doing[stage].line = line[:LINE_WIDTH]
                    if time.monotonic() - self._written < LINES_EVERY_S:
                        return
                case Ended(stage, state, seconds):
                    self._end(stage, state, seconds)
                case _:
                    return
            self.write()

    def _end(self, stage: str, state: str, seconds: float) -> None:
        self.run.doing.pop(stage, None)
        self.run.done += 1
        if state == "Completed":
            self.seconds[stage] = seconds
        if state == "Failed":
            self.run.failed.append(stage)

    def write(self) -> None:
        """Replace the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, asdict(self.run))
        self._written = time.monotonic()


@contextmanager
def seen_by_others(project: Path, folder: Path, file: str) -> Iterator[None]:
    """For the length of the block `slimline status` sees this run; a disk that is full costs the sight of it alone."""
    recorder = Recorder(project, folder, file)

    def hear(event: Event) -> None:
        try:
            recorder.hear(event)
        except OSError:
            listeners.remove(hear)

    listeners.append(hear)
    try:
        yield
    finally:
        if hear in listeners:
            listeners.remove(hear)
            recorder.path.unlink(missing_ok=True)
            keep_durations(project, file, recorder.seconds)


def runs_now(project: Path) -> list[dict[str, Any]]:
    """The runs whose process lives, oldest first; what the dead have left is removed."""
    found = []
    for path in sorted((project / RUNNING).glob("*.json")):
        run = read_state(path, lambda run: run | {"since": float(run["since"]), "process": str(run["process"]), "file": str(run["file"])})
        if run is not None and is_alive(run["process"]):
            found.append(run)
        elif run is not None:
            path.unlink(missing_ok=True)
    return sorted(found, key=lambda run: run["since"])
