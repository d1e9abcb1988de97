"""Quality on a split: the objective's own metrics, each with a bootstrap interval."""

from typing import Any

import numpy as np

from slimline.measure.bootstrap import cluster_of, effective_units, metric_draws, percentile_interval
from slimline.measure.resampled import is_studentised, studentised_figure
from slimline.objectives import Metric, Objective, Scores, figures


def quality(objective: Objective, scores: Scores, resamples: int, confidence: float, seed: int) -> dict[str, dict[str, Any]]:
    """Metric name -> {"value", "ci": [low, high]} of the samples that were scored.

    The intervals are from the bootstrap, seeded: studentised for means and ratios of sums, percentiles for shares and all else. Where no
    sample has an error no resample of a share can differ, and its lower end is that of the exact binomial interval (Clopper & Pearson
    1934) instead: no errors in N is no proof of none. So it is for metrics that follow from the same whole numbers as a share does.
    """
    values, metrics = figures(objective, scores), objective.metrics
    of_means = {name: metric for name, metric in metrics.items() if is_studentised(metric) and metric.share_of is None}
    rest = {name: metric for name, metric in metrics.items() if name not in of_means}
    draws = metric_draws(rest, [scores], resamples=resamples, seed=seed)[0] if rest else {}
    found: dict[str, dict[str, Any]] = {}
    for name, metric in metrics.items():
        if name in of_means:
            ends = studentised_figure(metric, scores, resamples, seed).interval(confidence)
        elif _is_flawless(metric, scores):
            ends = (values[name] * flawless_floor(len(scores["error"]), confidence), values[name])
        else:
            ends = percentile_interval(draws[name], confidence)
        found[name] = {"value": values[name], "ci": list(ends)}
    return found


def clusters(scores: Scores) -> dict[str, float] | None:
    """How many clusters the samples are of, and how many of equal size say as much; None where every sample stands alone."""
    numbers = cluster_of(scores)
    if numbers is None:
        return None
    sizes = np.bincount(numbers)
    return {"count": len(sizes), "of_equal_size": effective_units(sizes)}


def flawless_floor(samples: int, confidence: float) -> float:
    """The smallest true share that N samples without an error leave possible."""
    return float(((1 - confidence) / 2) ** (1 / samples))


def _is_flawless(metric: Metric, scores: Scores) -> bool:
    if metric.share_of is not None:
        return bool(np.all(scores[metric.share_of] == 1))
    return bool(metric.counted) and not np.any(scores["error"])
