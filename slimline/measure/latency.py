"""Latency: processes timed in turns, and ratios with intervals that hold from one launch to the next.

Two equal processes differ: where their pages and caches fall is decided once a launch, and stays. So the launch, not the sample, is what
an interval is made of (Kalibera & Jones 2013, "Rigorous benchmarking in reasonable time": repeat at the highest level that varies).
Within a launch, models take turns (A B | B A | A B), each warm before it is timed. On a shared machine process CPU time
tells models apart where wall time cannot (facts-cpu.md, §1): ratios are of CPU time, with wall time beside it.
"""

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from scipy import stats

from slimline.measure.timing import Turn

PERCENTILES = (50, 95, 99)
Ratio = dict[str, Any]
Launches = Sequence[Sequence[Turn]]
"""A model's turns on one batch: launch by launch, round by round."""


SPARE_LAUNCHES = 2
"""Launches beyond what independent ones would need: those of one session are alike, since a machine drifts over minutes."""


def launches_needed(confidence: float) -> int:
    """The fewest launches whose whole range holds the median that often: n with 2 / 2^n <= 1 - confidence, and some to spare."""
    return math.ceil(1 - math.log2(1 - confidence) - 1e-9) + SPARE_LAUNCHES


def percentiles(launches: Launches) -> dict[str, float]:
    """p50, p95 and p99 of the wall time of single warm calls, in milliseconds: what a caller waits."""
    walls_ms = np.concatenate([sample.wall_ms for turns in launches for turn in turns for sample in turn.samples])
    return {f"p{level}": float(np.percentile(walls_ms, level)) for level in PERCENTILES}


def cold_percentiles(launches: Launches) -> dict[str, float]:
    """The median and the largest wall time of the first call after others had the machine, in milliseconds."""
    walls_ms = [turn.first.wall_p50_ms for turns in launches for turn in turns]
    return {"p50": float(np.median(walls_ms)), "max": max(walls_ms)}


def speed_ratio(baseline: Launches, variant: Launches, confidence: float) -> Ratio:
    """How many times faster the variant is when warm: {"value", "ci"} on CPU time, "wall" beside it, and each launch's ratio on CPU time.

    A launch's ratio is the median over its rounds, the value that over launches, and the interval is over launches.
    """
    on_cpu, on_wall = (_ratios(baseline, variant, clock) for clock in (attrgetter("cpu_ms"), attrgetter("wall_ms")))
    return {**median_ratio(on_cpu, confidence), "wall": median_ratio(on_wall, confidence), "launches": on_cpu}


def cold_speed_ratio(baseline: Launches, variant: Launches, confidence: float) -> Ratio:
    """The same for the first call after others had the machine, on wall time: what a rarely called model costs."""
    return median_ratio(_ratios(baseline, variant, lambda turn: turn.first.wall_p50_ms), confidence)


def noise_floor(launches: Sequence[float], confidence: float) -> dict[str, Any]:
    """From one speed ratio a launch, each over that of the launch before it (A/A): {"value", "ratio", "ci"}.

    `value` is the largest departure from 1 that the interval of the A/A ratio still holds.
    """
    same = median_ratio([now / before for before, now in zip((launches[-1], *launches), launches, strict=False)], confidence)
    low, high = same["ci"]
    return {"value": max(abs(low - 1), abs(high - 1)), "ratio": same["value"], "ci": [low, high]}


def median_ratio(ratios: Sequence[float], confidence: float) -> Ratio:
    """The median with its distribution-free binomial interval; of too few ratios their whole range."""
    interval = stats.quantile_test(np.asarray(ratios, dtype=np.float64), q=1, p=0.5).confidence_interval(confidence)
    low, high = (float(limit) for limit in (interval.low, interval.high))
    return {
        "value": float(np.median(ratios)),
        "ci": [low if math.isfinite(low) else min(ratios), high if math.isfinite(high) else max(ratios)],
    }


def _ratios(baseline: Launches, variant: Launches, clock: Callable[[Turn], float]) -> list[float]:
    """One ratio a launch."""
    return [
        float(np.median([clock(before) / clock(now) for before, now in zip(*launch, strict=True)]))
        for launch in zip(baseline, variant, strict=True)
    ]
