"""Time calls inside one process. Imports nothing, so that a worker's memory is its runtime's."""

import gc
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

NANOSECONDS_PER_MILLISECOND = 1_000_000
SAMPLE_MS = 20.0
"""A sample lasts at least this long: fast models are called several times in one."""
MAX_CALLS = 5000
AGREEMENT = 0.03
"""Two samples in a row agree where their CPU times a call differ by no more than this share: then the caches are warm."""
WARM_UP_MS = 500.0
"""Samples that do not agree by then are taken as they are, and the turn says so."""


@dataclass(frozen=True)
class Sample:
    """Some calls in a row: mean process CPU time a call, and the wall time of each, in milliseconds."""

    cpu_ms: float
    wall_ms: tuple[float, ...]

    @property
    def wall_p50_ms(self) -> float:
        """The median wall time of one call."""
        return statistics.median(self.wall_ms)


@dataclass(frozen=True)
class Turn:
    """One turn of a process that others had the machine before.

    `first` is its first call, with the caches as the others left them: what a rarely called model costs. `samples` are those once it
    was warm, the first of them agreeing with the one before it where `steady`. `calls` counts all calls of the turn.
    """

    first: Sample
    samples: tuple[Sample, ...]
    steady: bool
    calls: int

    @property
    def cpu_ms(self) -> float:
        """Process CPU time of one warm call: the median of the samples."""
        return statistics.median(sample.cpu_ms for sample in self.samples)

    @property
    def wall_ms(self) -> float:
        """Wall time of one warm call: the median of the samples' medians."""
        return statistics.median(sample.wall_p50_ms for sample in self.samples)


def take_turn(call: Callable[[], object], samples: int, long_ms: float = math.inf) -> Turn:
    """Time the first call, then samples until two in a row agree, and from there on as many as asked; no garbage collection meanwhile.

    Where the first call takes longer than `long_ms`, one more is the only sample.
    """
    gc.disable()
    try:
        first = time_calls(call, 1)
        if first.wall_p50_ms > long_ms:
            return Turn(first, (time_calls(call, 1),), steady=True, calls=2)
        found, steady = _warm_up(call, first)
        calls = _calls_lasting(found[-1])
        found += [time_calls(call, calls) for _ in range(samples - 1)]
    finally:
        gc.enable()
    return Turn(first, tuple(found[-samples:]), steady, 1 + sum(len(sample.wall_ms) for sample in found))


def time_calls(call: Callable[[], object], calls: int) -> Sample:
    """Time so many calls in a row."""
    walls = []
    cpu_start = time.process_time_ns()
    start = time.perf_counter_ns()
    for _ in range(calls):
        call()
        now = time.perf_counter_ns()
        walls.append(now - start)
        start = now
    cpu = time.process_time_ns() - cpu_start
    return Sample(cpu / calls / NANOSECONDS_PER_MILLISECOND, tuple(wall / NANOSECONDS_PER_MILLISECOND for wall in walls))


def _warm_up(call: Callable[[], object], first: Sample) -> tuple[list[Sample], bool]:
    """Samples until the last two agree or WARM_UP_MS are over, at least two; and whether they agree. The last one is a warm one."""
    found = [time_calls(call, _calls_lasting(first))]
    until = time.perf_counter_ns() + WARM_UP_MS * NANOSECONDS_PER_MILLISECOND
    while True:
        found.append(time_calls(call, _calls_lasting(found[-1])))
        before, now = found[-2].cpu_ms, found[-1].cpu_ms
        if abs(now - before) <= AGREEMENT * before:
            return found, True
        if time.perf_counter_ns() > until:
            return found, False


def _calls_lasting(sample: Sample) -> int:
    """How many calls last SAMPLE_MS, by the fastest call of a sample."""
    return max(1, min(MAX_CALLS, math.ceil(SAMPLE_MS / max(min(sample.wall_ms), SAMPLE_MS / MAX_CALLS))))
