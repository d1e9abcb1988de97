"""Quality on a split: the workload's own metrics, each with a bootstrap interval."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimline.measure.bootstrap import Metrics, metric_draws, percentile_interval


def quality(
    outputs: NDArray[np.float32], targets: NDArray[np.int64], metrics: Metrics, resamples: int, confidence: float, seed: int
) -> dict[str, dict[str, Any]]:
    """Metric name -> {"value", "ci": [low, high]} of logits [N, classes] and class indices [N].

    The intervals are bootstrap percentiles, seeded. Where every sample is right no resample can differ, and the lower
    end is that of the exact binomial interval (Clopper & Pearson 1934) instead: no errors in N is no proof of none.
    """
    values = metrics(outputs, targets)
    draws = metric_draws([outputs], targets, metrics, resamples=resamples, seed=seed)[0]
    if (outputs.argmax(axis=1) == targets).all():
        floor = flawless_floor(len(targets), confidence)
        return {name: {"value": float(value), "ci": [float(value) * floor, float(value)]} for name, value in values.items()}
    return {name: {"value": float(value), "ci": list(percentile_interval(draws[name], confidence))} for name, value in values.items()}


def flawless_floor(samples: int, confidence: float) -> float:
    """The smallest true accuracy that N samples without an error leave possible."""
    return float(((1 - confidence) / 2) ** (1 / samples))
