"""Time calls inside one process. Imports nothing, so that a worker's memory is its runtime's."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

NANOSECONDS_PER_MILLISECOND = 1_000_000


@dataclass(frozen=True)
class Sample:
    """Some calls in a row: mean process CPU time a call, and the wall time of each, in milliseconds."""

    cpu_ms: float
    wall_ms: tuple[float, ...]


def time_calls(call: Callable[[], object], calls: int) -> Sample:
    """Run as many calls untimed (after another process's turn the caches are its own), then time them; no garbage collection meanwhile."""
    walls = []
    gc.disable()
    try:
        for _ in range(calls):
            call()
        cpu_start = time.process_time_ns()
        start = time.perf_counter_ns()
        for _ in range(calls):
            call()
            now = time.perf_counter_ns()
            walls.append(now - start)
            start = now
        cpu = time.process_time_ns() - cpu_start
    finally:
        gc.enable()
    return Sample(cpu / calls / NANOSECONDS_PER_MILLISECOND, tuple(wall / NANOSECONDS_PER_MILLISECOND for wall in walls))
