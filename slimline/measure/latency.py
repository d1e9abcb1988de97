"""Latency: several models timed in turns, A B | B A, and ratios as medians over the pairs.

Measured on a shared machine (facts-cpu.md, §1): one block after the other spreads by 40 %, interleaved pairs on process CPU
time by 1 %, on wall time by 3.5 %.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from slimline.measure.timing import Sample

SAMPLE_MS = 2.0
"""A sample lasts at least this long: tiny models are called several times in one."""
MAX_CALLS = 1000
WARM_UP_CALLS = 3
ROUNDS_OF_GUESSING = 2
PERCENTILES = (50, 95, 99)


class Timed(Protocol):
    """A model in a process of its own that can be timed."""

    def time(self, batch: Path, calls: int) -> Sample:
        """Time some calls on the batch stored in a .npy file."""


def interleave(subjects: Mapping[str, Timed], batch: Path, pairs: int) -> dict[str, list[Sample]]:
    """Time every subject once a round, in order in one round and in reverse in the next: name -> one sample a round."""
    calls = {name: calls_per_sample(subject, batch) for name, subject in subjects.items()}
    samples: dict[str, list[Sample]] = {name: [] for name in subjects}
    for turn in range(pairs):
        for name in list(subjects) if turn % 2 == 0 else list(subjects)[::-1]:
            samples[name].append(subjects[name].time(batch, calls[name]))
    return samples


def calls_per_sample(subject: Timed, batch: Path) -> int:
    """Warm a subject up, and say how many calls last SAMPLE_MS, from its fastest call in two rounds of guessing."""
    calls = WARM_UP_CALLS
    for _ in range(ROUNDS_OF_GUESSING):
        fastest = min(subject.time(batch, calls).wall_ms)
        calls = max(1, min(MAX_CALLS, math.ceil(SAMPLE_MS / max(fastest, SAMPLE_MS / MAX_CALLS))))
    return calls


def percentiles(samples: Sequence[Sample]) -> dict[str, float]:
    """p50, p95 and p99 of the wall time of single calls, in milliseconds: what a caller waits."""
    walls = np.concatenate([sample.wall_ms for sample in samples])
    return {f"p{level}": float(np.percentile(walls, level)) for level in PERCENTILES}


def speed_ratio(baseline: Sequence[Sample], variant: Sequence[Sample], confidence: float) -> dict[str, Any]:
    """How many times faster the variant is: {"value", "ci"} on process CPU time, and the same on wall time under "wall"."""
    on_cpu = pair_ratio([sample.cpu_ms for sample in baseline], [sample.cpu_ms for sample in variant], confidence)
    on_wall = pair_ratio([_wall(sample) for sample in baseline], [_wall(sample) for sample in variant], confidence)
    return {**on_cpu, "wall": on_wall}


def pair_ratio(baseline: Sequence[float], variant: Sequence[float], confidence: float) -> dict[str, Any]:
    """The median of the ratios baseline/variant of each pair, with its distribution-free binomial interval."""
    ratios: NDArray[np.float64] = np.asarray(baseline, dtype=np.float64) / np.asarray(variant, dtype=np.float64)
    interval = stats.quantile_test(ratios, q=1, p=0.5).confidence_interval(confidence)
    low, high = (float(limit) for limit in (interval.low, interval.high))
    return {
        "value": float(np.median(ratios)),
        "ci": [low if math.isfinite(low) else float(ratios.min()), high if math.isfinite(high) else float(ratios.max())],
    }


def _wall(sample: Sample) -> float:
    return float(np.median(sample.wall_ms))
