"""The drop of a metric against the baseline on the same samples: value, interval and p-value.

A drop is baseline - variant: above 0 the variant is worse.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from slimline.errors import ParamsError
from slimline.measure.bootstrap import Metrics, metric_draws, percentile_interval
from slimline.verdict.mcnemar import mcnemar_p
from slimline.verdict.power import TARGET_POWER, detectable_drop

ACCURACY = "accuracy"
Limits = tuple[float, float]


@dataclass(frozen=True)
class Drop:
    """How much a metric fell, with the interval and the test that tells it from none.

    `detectable` is the smallest true drop that the samples would have shown with a power of 80 %.
    """

    metric: str
    value: float
    ci: Limits
    p_value: float
    test: Literal["mcnemar", "bootstrap"]
    detectable: float

    def as_json(self) -> dict[str, Any]:
        """The drop as summary.json holds it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items() if key != "detectable"}


@dataclass(frozen=True)
class Resampling:
    """How intervals are made."""

    resamples: int
    confidence: float
    seed: int


def metric_drop(
    metric: str, outputs: Sequence[NDArray[np.float32]], targets: NDArray[np.int64], metrics: Metrics, resampling: Resampling
) -> Drop:
    """The drop of one metric from the logits of (baseline, variant): exact for accuracy, by paired bootstrap for others.

    Raises:
        ParamsError: the workload has no such metric.
    """
    known = metrics(outputs[0], targets)
    if metric not in known:
        raise ParamsError([f"params.yaml: gate.metric: the workload has no metric {metric!r}; it has: {', '.join(known)}"])
    rights = [logits.argmax(axis=1) == targets for logits in outputs]
    lost, gained = int((rights[0] & ~rights[1]).sum()), int((rights[1] & ~rights[0]).sum())
    if metric == ACCURACY:
        return accuracy_drop(lost, gained, len(targets), resampling.confidence)
    return _bootstrap_drop(metric, outputs, targets, metrics, resampling)


def accuracy_drop(lost: int, gained: int, samples: int, confidence: float) -> Drop:
    """The drop of accuracy, from the samples that only the baseline (lost) or only the variant (gained) had right."""
    return Drop(
        metric=ACCURACY,
        value=(lost - gained) / samples,
        ci=tango_interval(lost, gained, samples, confidence),
        p_value=mcnemar_p(lost, gained),
        test="mcnemar",
        detectable=detectable_drop(samples, lost, gained, confidence),
    )


def tango_interval(lost: int, gained: int, samples: int, confidence: float) -> Limits:
    """Score interval of the paired difference (lost - gained)/samples (Tango 1998, Statistics in Medicine 17:891-908).

    It has a width where nothing flipped, and keeps its coverage for few flips, which the Wald interval does not.
    """
    estimate, z = (lost - gained) / samples, float(stats.norm.isf((1 - confidence) / 2))

    def score(difference: float) -> float:
        return _tango_score(difference, lost, gained, samples)

    low = -1.0 if estimate == -1 else optimize.brentq(lambda value: score(value) - z, -1 + 1e-12, estimate)
    high = 1.0 if estimate == 1 else optimize.brentq(lambda value: score(value) + z, estimate, 1 - 1e-12)
    return float(low), float(high)


def _tango_score(difference: float, lost: int, gained: int, samples: int) -> float:
    """How many standard errors the observed difference lies above `difference`, given the restricted ML estimate."""
    shift = lost - gained - samples * difference
    if shift == 0:
        return 0.0
    linear = (2 * samples - lost + gained) * difference - lost - gained
    root = math.sqrt(max(0.0, linear**2 + 8 * samples * gained * difference * (1 - difference)))
    gained_share = (root - linear) / (4 * samples)
    variance = samples * (2 * gained_share + difference * (1 - difference))
    return shift / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, shift)


def _bootstrap_drop(
    metric: str, outputs: Sequence[NDArray[np.float32]], targets: NDArray[np.int64], metrics: Metrics, resampling: Resampling
) -> Drop:
    baseline, variant = metric_draws(outputs, targets, metrics, resamples=resampling.resamples, seed=resampling.seed)
    draws = baseline[metric] - variant[metric]
    value = float(metrics(outputs[0], targets)[metric] - metrics(outputs[1], targets)[metric])
    if np.ptp(draws) == 0:
        return _unmoved_drop(metric, value, len(targets), resampling.confidence)
    tail = (1 + min(int((draws <= 0).sum()), int((draws >= 0).sum()))) / (1 + len(draws))
    reach = stats.norm.isf((1 - resampling.confidence) / 2) + stats.norm.ppf(TARGET_POWER)
    return Drop(
        metric=metric,
        value=value,
        ci=percentile_interval(draws, resampling.confidence),
        p_value=min(1.0, 2 * tail),
        test="bootstrap",
        detectable=float(reach * draws.std(ddof=1)),
    )


def _unmoved_drop(metric: str, value: float, samples: int, confidence: float) -> Drop:
    """Where no resample differs, the width is that of accuracy without flips: nothing seen is no proof of nothing."""
    low, high = tango_interval(0, 0, samples, confidence)
    return Drop(metric, value, (value + low, value + high), 1.0, "bootstrap", detectable_drop(samples, 0, 0, confidence))
