"""How much memory each stage took when it last ran here, in bytes of its largest process: .slimline/peaks.json.

Linux keeps the most that a process ever held (VmHWM); it is read every second for as long as the stage lives. Elsewhere nothing is known.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from flows.stage_numbers import keep_numbers, numbers_of

PEAKS = ".slimline/peaks.json"
EVERY_S = 1.0
PROC = Path("/proc")
_taken: dict[str, int] = {}


def peaks(project: Path, file: str) -> dict[str, int]:
    """Bytes by stage of a params file; empty where nothing is known."""
    return {stage: int(found) for stage, found in numbers_of(project / PEAKS, file).items()}


def keep_peaks(project: Path, file: str) -> None:
    """Write down what the stages of this process's run took, and begin anew."""
    keep_numbers(project / PEAKS, file, _taken)
    _taken.clear()


def took(stage: str, peak_bytes: int) -> None:
    """Take note of a stage that ran to its end."""
    if peak_bytes:
        _taken[stage] = peak_bytes


@contextmanager
def watched(pid: int) -> Iterator[list[int]]:
    """For the length of the block watch a process and its children; the list then has the most that any of them held, in bytes."""
    most, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY_S):
            most[0] = max(most[0], *map(_peak_of, family(pid)))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def family(pid: int) -> list[int]:
    """A process and all below it, as far as Linux tells of them."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            for task in (PROC / str(one) / "task").iterdir():
                with suppress(OSError):
                    found += map(int, (task / "children").read_text().split())
    return found


def _peak_of(pid: int) -> int:
    try:
        fields: Mapping[str, str] = dict(line.split(":", 1) for line in (PROC / str(pid) / "status").read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # it has ended
        return 0
