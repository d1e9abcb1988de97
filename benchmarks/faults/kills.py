"""Signals at random moments, to a run and to everything that it starts; what must hold afterwards.

The tiny project of the tests is run by `slimline run` with a Prefect server and an S3 store of its own. After the signal the run ends, no
process of it is left, nothing is published after a stop, and the next run completes with the same artifacts and a clean `dvc status`.

    python benchmarks/faults/kills.py --seed 0 --tries 24

An older commit is tried by the same script: PYTHONPATH=/path/of/its/clone before the command. Only processes that name the try's own
folder, by command line or environment, are ever signalled.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from tries import SLIMLINE, Try, all_tried

from slimline.artifact.folder import sha256_of
from slimline.errors import SlimlineError
from tests.tiny_project import make_project

WHOM = {
    "the wrapper": "slimline",
    "the flow": "flows.compress",
    "a dvc repro": "repro",
    "a stage": "tasks.dummy",
    "the Prefect server": "uvicorn",
    "the S3 server": "weed",
    "the guard": "flows.guard",
}
"""Who gets the signal -> a word of its command line."""
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP)
DEATHS = (signal.SIGKILL, signal.SIGTERM)
LATEST_S = 12.0
"""The signal comes at most so long after the first of its kind was seen; a run that is over by then was not hit."""
END_S, NEXT_S = 60.0, 150.0


@dataclass(frozen=True)
class Project:
    """A copy of the tiny project, its environment, and what a run without signals leaves."""

    folder: Path
    environment: dict[str, str]
    expected: dict[str, str]

    @property
    def root(self) -> Path:
        """Where `slimline run` is called."""
        return self.folder / "project"

    def start(self) -> subprocess.Popen[bytes]:
        """A run as a user starts it, its output in a file."""
        with (self.folder / "said").open("wb") as said:
            return subprocess.Popen(
                [*SLIMLINE, "run"], cwd=self.root, env=self.environment, stdout=said, stderr=said, start_new_session=True
            )

    def processes(self) -> list[psutil.Process]:
        """Everything that works for this project and has not ended."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            words = [*process.cmdline(), process.environ().get("TINY_LOG", "")]
            return process.status() != psutil.STATUS_ZOMBIE and any(str(self.folder) in word for word in words)
        except psutil.Error:
            return False


def made(folder: Path) -> Project:
    """The tiny project after its commit, not yet run."""
    folder.mkdir()
    _, environment = make_project(folder)
    return Project(folder, environment | {"TINY_LOG": str(folder / "log")}, {})


def copied(template: Project, folder: Path) -> Project:
    """The same project somewhere else."""
    shutil.copytree(template.folder, folder, symlinks=True)
    environment = {name: value.replace(str(template.folder), str(folder)) for name, value in template.environment.items()}
    return Project(folder, environment, template.expected)


def artifacts(project: Project) -> dict[str, str]:
    """What the stages made, by checksum."""
    files = (path for top in ("data", "reports/stages") for path in (project.root / top).rglob("*") if path.is_file())
    return {path.relative_to(project.root).as_posix(): sha256_of(path) for path in files}


def signalled(template: Project, folder: Path, whom: str, number: signal.Signals, delay_s: float) -> None:
    """One try: a run, a signal, and the run after it.

    Raises:
        SlimlineError: something did not hold.
    """
    project = copied(template, folder)
    run = project.start()
    try:
        hit = _hit(project, run, whom, number, delay_s)
        _ends(project, run, stopped=hit and whom in ("the wrapper", "the flow"))
        _next_run(project)
    finally:
        for process in project.processes():
            process.kill()
        run.wait()


def _hit(project: Project, run: subprocess.Popen[bytes], whom: str, number: signal.Signals, delay_s: float) -> bool:
    deadline, due = time.monotonic() + NEXT_S, None
    while run.poll() is None and time.monotonic() < deadline:
        found = [one for one in project.processes() if _is(one, whom, run.pid)]
        due = due or (time.monotonic() + delay_s if found else None)
        if found and due and time.monotonic() >= due:
            found[0].send_signal(number)
            return True
        time.sleep(0.02)
    return False


def _is(process: psutil.Process, whom: str, wrapper: int) -> bool:
    try:
        return process.pid == wrapper if whom == "the wrapper" else WHOM[whom] in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _ends(project: Project, run: subprocess.Popen[bytes], *, stopped: bool) -> None:
    released = project.root / "reports/releases.json"
    before = released.exists()
    if not _within(lambda: run.poll() is not None, END_S):
        raise SlimlineError(f"the run did not end within {END_S:g} s")
    if not _within(lambda: not project.processes(), END_S):
        raise SlimlineError(f"left behind: {'; '.join(' '.join(one.cmdline())[:80] for one in project.processes())}")
    if stopped and not before and released.exists():
        raise SlimlineError("it published after it was stopped")
    if "Traceback" in (said := (project.folder / "said").read_text(errors="replace")):
        raise SlimlineError(f"a traceback: {said.strip().splitlines()[-1][:120]}")


def _next_run(project: Project) -> None:
    again = project.start()
    if not _within(lambda: again.poll() is not None, NEXT_S) or again.returncode:
        said = (project.folder / "said").read_text(errors="replace").strip().splitlines()
        raise SlimlineError(f"the next run ended with {again.poll()}: {(said or ['nothing'])[-1][:120]}")
    if artifacts(project) != project.expected:
        raise SlimlineError("the next run made other artifacts")
    status = [sys.executable, "-m", "dvc", "status"]
    told = subprocess.run(status, cwd=project.root, env=project.environment, capture_output=True, text=True, check=False).stdout
    if "up to date" not in told:
        raise SlimlineError(f"dvc status: {' '.join(told.split())[:120]}")
    if not _within(lambda: not project.processes(), END_S):
        raise SlimlineError("the next run left something behind")


def _within(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def reference(folder: Path) -> Project:
    """A committed project, and the artifacts of one undisturbed run of a copy of it."""
    template = made(folder / "template")
    undisturbed = copied(template, folder / "undisturbed")
    if undisturbed.start().wait(NEXT_S):
        raise SlimlineError(f"the undisturbed run failed: {(undisturbed.folder / 'said').read_text(errors='replace')[-400:]}")
    return Project(template.folder, template.environment, artifacts(undisturbed))


def attempts(template: Project, folder: Path, seed: int, count: int) -> Iterator[Try]:
    """Every victim in turn, each with a signal and a moment of its own."""
    draw = random.Random(seed)
    for number in range(count):
        whom = list(WHOM)[number % len(WHOM)]
        kind = draw.choice(STOPS if whom in ("the wrapper", "the flow") else DEATHS)
        delay_s = draw.uniform(0, LATEST_S if whom in ("the wrapper", "the flow") else 1.0)

        def run(whom: str = whom, kind: signal.Signals = kind, delay_s: float = delay_s, number: int = number) -> None:
            signalled(template, folder / f"try-{number}", whom, kind, delay_s)

        yield Try(whom, f"{kind.name} after {delay_s:.1f} s", run, codes=(0,), limit_s=2 * END_S + 2 * NEXT_S)


def main() -> int:
    """Draw the tries, run them one after another, print the table; 0 if all held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tries", type=int, default=24)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slimline-kills-") as folder:
        template = reference(Path(folder))
        return all_tried(attempts(template, Path(folder), arguments.seed, arguments.tries), heading="signals at random moments")


if __name__ == "__main__":
    sys.exit(main())
