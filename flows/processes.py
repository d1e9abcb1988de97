"""Processes by pid and birth time: whether one still lives, and how to end it and what it started."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import psutil

GRACE_SECONDS = 10.0
ORDERLY_SECONDS = 5.0
POLL_SECONDS = 0.2


def identity(pid: int) -> tuple[int, float] | None:
    """(pid, create time), which no later process shares; None where there is no such process."""
    try:
        return pid, psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def find(pid: int, born: float) -> psutil.Process | None:
    """The living process with this pid and birth time."""
    try:
        process = psutil.Process(pid)
        return process if abs(process.create_time() - born) < 1 and runs(process) else None
    except psutil.Error:
        return None


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended; a zombie, which only waits for its parent to take note, has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """Everything that it started and that is still there."""
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def stop_command(process: psutil.Process, in_a_hurry: Callable[[], bool] = lambda: False) -> None:
    """End a `dvc repro`: its stage command only, so that DVC fails in order and clears its locks; by force after 10 s or in a hurry.

    DVC may be about to start its command, so new children are looked for until it ends. An interrupt tears the lock file where DVC is
    just writing it, so it comes only where 5 s have brought neither a child nor the end: DVC hashes or transfers something large.
    What was told to end is waited for even when its parent has ended first: the shell between DVC and a stage does.
    """
    began = time.monotonic()
    told: set[psutil.Process] = set()
    while (waited := time.monotonic() - began) < GRACE_SECONDS and not in_a_hurry():
        family = descendants(process)
        _signal([child for child in family if child not in told], signal.SIGTERM)
        if not family and waited > ORDERLY_SECONDS and process not in told:
            _signal([process], signal.SIGINT)
            told.add(process)
        told.update(family)
        if _have_ended([process, *told], POLL_SECONDS):
            return
    left = [process, *descendants(process), *told]
    _signal(left, signal.SIGKILL)
    _have_ended(left, GRACE_SECONDS)


def all_at_once(stops: Sequence[Callable[[], None]]) -> None:
    """Call all of them side by side and wait for them."""
    if stops:
        with ThreadPoolExecutor(len(stops)) as pool:
            list(pool.map(lambda stop: stop(), stops))


def stop_service(process: psutil.Process, grace_seconds: float = GRACE_SECONDS) -> None:
    """End a server or an upload: ask the process itself, wait, then end by force what is left of it and its children."""
    family = [process, *descendants(process)]
    _signal([process], signal.SIGTERM)
    _, alive = psutil.wait_procs([process], timeout=grace_seconds)
    _, left = psutil.wait_procs(family, timeout=1.0 if not alive else 0.0)
    _signal(left, signal.SIGKILL)
    psutil.wait_procs(left, timeout=grace_seconds)


def _signal(processes: Sequence[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            process.send_signal(number)


def _have_ended(processes: Sequence[psutil.Process], seconds: float) -> bool:
    """Whether all of them end within the time; unlike psutil's wait it leaves a child's exit code to whoever started it."""
    deadline = time.monotonic() + seconds
    while any(map(runs, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS / 4)
    return True


def own_identity() -> tuple[int, float]:
    """This process."""
    return os.getpid(), psutil.Process().create_time()
