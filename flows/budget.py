"""A run with a budget of time: a stage is not begun where what it leads to could not be judged in time, and the rest is brought out.

What a stage leads to takes as long as the shortest chain from it to the end, by how long each stage took last time; one that never ran is
taken for as long as others of its kind. Stages that gather what stands (timing, the report) are always run.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import mean

from flows.dag import Dag, Node
from flows.events import Noted, tell
from slimline.errors import InputError

_SPAN = re.compile(r"(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?")


@dataclass(frozen=True)
class Budget:
    """When it ends (monotonic seconds), as it was asked for, and how long each stage and what follows it take."""

    end: float
    asked: str
    to_the_end_s: Mapping[str, float]


_active: list[Budget] = []


def seconds_of(text: str) -> int:
    """A span such as 2h, 90m or 1h30m in seconds.

    Raises:
        InputError: it is none, or no time at all.
    """
    found = _SPAN.fullmatch(text.strip())
    seconds = sum(int(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    if not seconds:
        raise InputError(f"--budget {text[:40]}: no span of time; write it as 2h, 90m or 1h30m")
    return seconds


@contextmanager
def budget(asked: str, began: float, dag: Dag, known: Mapping[str, float]) -> Iterator[None]:
    """For the length of the block stages are held to a budget that counts from `began`; none where nothing is `asked`."""
    if not asked:
        yield
        return
    if not known:
        tell(Noted(f"budget {asked}: no run has ended here yet, so nobody knows how long stages take; none begins when it is used up"))
    _active.append(Budget(began + seconds_of(asked), asked, to_the_end(dag.nodes, known)))
    try:
        yield
    finally:
        _active.pop()


def why_not(stage: str) -> str | None:
    """Why a stage is not to be begun now; None where it may be."""
    if not _active or stage not in _active[-1].to_the_end_s:
        return None
    left, needed = _active[-1].end - time.monotonic(), _active[-1].to_the_end_s[stage]
    if left >= needed and left > 0:
        return None
    what = f"it and what follows take about {needed:.0f} s, and {max(0.0, left):.0f} s are left" if needed else "it is used up"
    return f"skipped: the budget of {_active[-1].asked}: {what}; run again, finished stages are kept"


def to_the_end(nodes: Mapping[str, Node], known: Mapping[str, float]) -> dict[str, float]:
    """Seconds from the start of each stage to the end of the shortest chain that it begins; not of those that gather or are up to date."""
    followers: dict[str, list[str]] = {name: [] for name in nodes}
    for node in nodes.values():
        for need in node.needs:
            followers[need].append(node.name)
    seconds: dict[str, float] = {}
    for name in sorted(nodes, key=lambda name: nodes[name].depth):
        seconds[name] = _expected(name, known) + min((seconds[one] for one in followers[name]), default=0.0)
    return {name: one for name, one in seconds.items() if not (nodes[name].gathers or nodes[name].clean)}


def _expected(stage: str, known: Mapping[str, float]) -> float:
    kind = stage.partition("@")[0]
    alike = [seconds for name, seconds in known.items() if name.partition("@")[0] == kind]
    return known.get(stage, mean(alike) if alike else 0.0)
