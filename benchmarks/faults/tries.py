"""Hostile tries: each runs in a process of its own and is held to what a refusal has to be. The scripts beside this one make them.

A try is held if it ends with an allowed exit code, says why in a few `error:` lines (each one of bearable length, no traceback, no
secret in it), leaves the files that it must keep byte for byte as they were, and takes no more time and memory than it may.

    python benchmarks/faults/altered_artifacts.py --seed 0

An older commit is tried by the same scripts: PYTHONPATH=/path/of/its/clone before the command.
"""

import contextlib
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

SLIMLINE = (sys.executable, "-c", "from slimline.cli import main; main()")
"""The command `slimline`, of whichever tree PYTHONPATH names."""
TRACEBACK, ERRORS = "Traceback (most recent call last)", ("error: ", "ERROR: ")
"""The second are DVC's own lines, which the flow shows below the stage that failed."""
NOTES = "FAULTS_NOTES"
"""Where the outcome of each try is written down, if anywhere."""
MEGABYTE = 1_000_000
LARGE_BYTES = 64 * MEGABYTE
"""A file above is compared by its size and time."""
LOOK_S = 0.01
UNFORESEEN = 70
LONGEST_LINE, LONGEST_NUMBER = 1000, 20

Tree = dict[str, str]


@dataclass(frozen=True)
class Try:
    """One hostile input and what a refusal of it may cost.

    `run` is a command, or a function for a fork of this very process, which says what to answer by returning (exit code 0) or by
    raising (a SlimlineError, as `slimline` tells it, or SystemExit; anything else is a traceback). `keeps` names files and folders
    that must be as they were, one that does not exist included. `memory_bytes` bounds what the process takes beyond what a harmless
    run takes (a command) or beyond what it has when it starts (a function).
    """

    family: str
    name: str
    run: Sequence[str] | Callable[[], None]
    cwd: Path | None = None
    codes: tuple[int, ...] = (2,)
    keeps: tuple[Path, ...] = ()
    said: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    lines: int = 5
    limit_s: float = 60.0
    memory_bytes: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""


@dataclass(frozen=True)
class Outcome:
    """What became of a try: `reasons` says why it was not held, and is empty where it was."""

    attempt: Try
    reasons: tuple[str, ...]
    code: int | None
    seconds: float
    peak_bytes: int
    text: str

    @property
    def held(self) -> bool:
        """Whether the try met a refusal as it should be."""
        return not self.reasons


def tried(attempt: Try, *, harmless_bytes: int = 0) -> Outcome:
    """Run one try; `harmless_bytes` is the peak memory of a command that meets no hostile input."""
    before = {path: tree_of(path) for path in attempt.keeps}
    started = time.monotonic()
    with tempfile.TemporaryFile() as written:
        code, peak = _ended(attempt, written.fileno())
        seconds = time.monotonic() - started
        written.seek(0)
        text = written.read().decode(errors="replace")
    altered = tuple(f"{path} was altered: {changed(old, tree_of(path))}" for path, old in before.items() if tree_of(path) != old)
    outcome = Outcome(attempt, judged(attempt, code, text, peak - harmless_bytes) + altered, code, seconds, peak, text)
    _note(outcome)
    return outcome


def judged(attempt: Try, code: int | None, text: str, taken_bytes: int = 0) -> tuple[str, ...]:
    """Why a process that ended with `code` (None: it had to be ended) and printed `text` was no refusal as it should be."""
    errors = [line for line in map(str.strip, text.splitlines()) if line.startswith(ERRORS)]
    reasons = []
    if code is None:
        reasons.append(f"did not end within {attempt.limit_s:g} s")
    elif code not in attempt.codes:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        reasons.append(f"{how}, allowed {', '.join(map(str, attempt.codes))}; said last: {_last(text)}")
    if TRACEBACK in text:
        reasons.append(f"a traceback: {_last(text)}")
    if code and not 1 <= len(errors) <= attempt.lines:
        reasons.append(f"{len(errors)} error lines, 1 to {attempt.lines} allowed")
    if long := [line for line in errors if len(line) > LONGEST_LINE]:
        reasons.append(f"an error line of {len(long[0])} characters: {long[0][:80]}…")
    reasons += [f"does not say {word!r}: {(errors or ['nothing'])[0][:200]}" for word in attempt.said if word not in text]
    reasons += ["tells a secret" for word in attempt.secrets if word in text]
    if attempt.memory_bytes is not None and taken_bytes > attempt.memory_bytes:
        reasons.append(f"took {taken_bytes / MEGABYTE:,.0f} MB, allowed {attempt.memory_bytes / MEGABYTE:,.0f}")
    return tuple(reasons)


def tree_of(path: Path) -> Tree:
    """Relative path -> kind, mode and checksum of everything at and below `path`; empty where there is nothing."""
    if not (path.is_symlink() or path.exists()):
        return {}
    found = [path, *(sorted(path.rglob("*")) if path.is_dir() and not path.is_symlink() else ())]
    return {one.relative_to(path).as_posix(): _state(one) for one in found}


def changed(old: Tree, new: Tree) -> str:
    """The first few names that differ between two trees."""
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return ", ".join(f"{name} ({'gone' if name not in new else 'new' if name not in old else 'other'})" for name in names[:3])


def all_tried(attempts: Iterable[Try], *, harmless_bytes: int = 0, heading: str) -> int:
    """Run all tries, print a table of families and each try that was not held; 0 if all were, else 1."""
    console, outcomes = Console(), []
    for attempt in attempts:
        outcomes.append(tried(attempt, harmless_bytes=harmless_bytes))
        if not outcomes[-1].held:
            console.print(f"not held: {attempt.family}: {attempt.name}: {'; '.join(outcomes[-1].reasons)}", markup=False, highlight=False)
    console.print(counted(outcomes, heading))
    return 0 if all(outcome.held for outcome in outcomes) else 1


def counted(outcomes: Sequence[Outcome], heading: str) -> Table:
    """Tries, held and not held of each family, and their slowest and largest try."""
    table = Table("family", "tries", "held", "not held", "slowest, s", "most memory, MB", title=heading)
    tries, held = (Counter(one.attempt.family for one in outcomes if one.held or every) for every in (True, False))
    for family in tries:
        of_family = [one for one in outcomes if one.attempt.family == family]
        most = max(one.peak_bytes for one in of_family) / MEGABYTE
        slowest = max(one.seconds for one in of_family)
        table.add_row(family, str(tries[family]), str(held[family]), str(tries[family] - held[family]), f"{slowest:.1f}", f"{most:,.0f}")
    total = sum(tries.values())
    table.add_row("all", str(total), str(sum(held.values())), str(total - sum(held.values())), "", "", style="bold")
    return table


def _note(outcome: Outcome) -> None:
    """One line of JSON for whoever gathers several scripts (every.py)."""
    if (place := os.environ.get(NOTES)) is not None:
        known = {"family": outcome.attempt.family, "name": outcome.attempt.name, "seconds": round(outcome.seconds, 2)}
        with Path(place).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({**known, "reasons": outcome.reasons}) + "\n")


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["nothing"])[-1][:200]


def _ended(attempt: Try, output: int) -> tuple[int | None, int]:
    """Exit code (None where it had to be killed) and the peak memory of the process, bytes."""
    if callable(attempt.run):
        return _forked(attempt, attempt.run, output)
    process = subprocess.Popen(
        attempt.run,
        cwd=attempt.cwd,
        env={**os.environ, **attempt.environment},
        stdin=subprocess.PIPE if attempt.stdin else subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    if process.stdin:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(attempt.stdin)
    return _watched(process.pid, attempt.limit_s)


def _forked(attempt: Try, run: Callable[[], None], output: int) -> tuple[int | None, int]:
    sys.stdout.flush()
    told, telling = os.pipe()
    if not (pid := os.fork()):
        os.write(telling, str(_memory_bytes(os.getpid(), "VmRSS")).encode())
        _child(attempt, run, output)
    os.close(telling)
    code, peak = _watched(pid, attempt.limit_s)
    with os.fdopen(told, "rb") as stream:
        return code, max(0, peak - int(stream.read(LONGEST_NUMBER)))


def _child(attempt: Try, run: Callable[[], None], output: int) -> None:
    """The whole life of a fork: never returns."""
    import traceback

    from slimline.errors import SlimlineError

    os.setsid()
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ.update(attempt.environment)
    code = UNFORESEEN
    try:
        if attempt.cwd:
            os.chdir(attempt.cwd)
        run()
        code = 0
    except SlimlineError as error:
        os.write(2, "".join(f"{ERRORS[0]}{line}\n" for line in str(error).splitlines()).encode())
        code = error.exit_code
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    finally:
        if code == UNFORESEEN:  # a fork must not go on in this script, whatever it met
            os.write(2, traceback.format_exc().encode())
        os._exit(code)


def _watched(pid: int, limit_s: float) -> tuple[int | None, int]:
    """Wait for a process that leads a session of its own, looking at its memory; kill the session at the limit."""
    peak, deadline, killed = 0, time.monotonic() + limit_s, False
    while True:
        peak = max(peak, _memory_bytes(pid, "VmHWM"))
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if not killed and time.monotonic() > deadline:
            killed = True
            os.killpg(pid, signal.SIGKILL)
        time.sleep(LOOK_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what it left behind
    return None if killed else os.waitstatus_to_exitcode(status), peak


def _memory_bytes(pid: int, what: str) -> int:
    """VmHWM or VmRSS of a process; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:")), 0)


def _state(path: Path) -> str:
    about = path.lstat()
    kind = stat.filemode(about.st_mode)
    if path.is_symlink():
        return f"{kind} -> {path.readlink()}"
    if not stat.S_ISREG(about.st_mode):
        return kind
    if about.st_size > LARGE_BYTES or not os.access(path, os.R_OK):
        return f"{kind} {about.st_size} {about.st_mtime_ns}"
    return f"{kind} {hashlib.sha256(path.read_bytes()).hexdigest()}"
