"""The drop of a metric against the baseline on the same samples: value, interval and p-value.

A drop is by how much the variant is worse, whichever way the metric is better: above 0 the variant is worse.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import optimize, stats

from slimline.measure.bootstrap import CLUSTER, cluster_of, metric_draws
from slimline.measure.resampled import Resampled, is_studentised, studentised_drop
from slimline.objectives import Metric, Objective, Scores, metric_of, worse_by
from slimline.verdict.mcnemar import mcnemar_p
from slimline.verdict.power import TARGET_POWER, detectable_drop

ACCURACY = "accuracy"
BOUNDED = ("fraction", "cosine", "correlation")
"""Units of figures that 1 bounds."""
Limits = tuple[float, float]


@dataclass(frozen=True)
class Drop:
    """How much a metric got worse, with the interval and the test that tells it from none.

    `detectable` is the smallest true drop that the samples would have shown with a power of 80 %. `relative_value` and `relative_ci` are
    the drop as a share of the baseline's figure; None where that is 0.
    """

    metric: str
    value: float
    ci: Limits
    p_value: float
    test: Literal["mcnemar", "bootstrap"]
    detectable: float
    relative_value: float | None = None
    relative_ci: Limits | None = None

    def as_json(self) -> dict[str, Any]:
        """The drop as summary.json holds it."""
        relative = None if self.relative_ci is None else {"value": self.relative_value, "ci": list(self.relative_ci)}
        kept = {"metric": self.metric, "value": self.value, "ci": list(self.ci), "p_value": self.p_value, "test": self.test}
        return {**kept, "relative": relative}


@dataclass(frozen=True)
class Resampling:
    """How intervals are made."""

    resamples: int
    confidence: float
    seed: int


def metric_drop(objective: Objective, metric: str, baseline: Scores, variant: Scores, resampling: Resampling) -> Drop:
    """The drop of one metric from the scores of both on the same samples.

    Exact where the metric is a share of samples that stand alone (McNemar, Tango); else by a paired bootstrap over samples, or over
    whole clusters of them.

    Raises:
        ParamsError: the objective has no such metric.
    """
    return metric_drops(objective, metric, baseline, variant, resampling, (resampling.confidence,))[0]


def metric_drops(
    objective: Objective, metric: str, baseline: Scores, variant: Scores, resampling: Resampling, confidences: Sequence[float]
) -> tuple[Drop, ...]:
    """The same drop at each of these confidences, from one set of resamples.

    Raises:
        ParamsError: the objective has no such metric.
    """
    return drops_of(metric, metric_of(objective, metric), baseline, variant, resampling, confidences)


def drops_of(
    metric: str, asked: Metric, baseline: Scores, variant: Scores, resampling: Resampling, confidences: Sequence[float]
) -> tuple[Drop, ...]:
    """The same of any metric of these scores, by what it is called."""
    before = float(asked.figure(baseline))
    if is_exact(asked, baseline):
        lost, gained = flipped(asked, baseline, variant)
        return tuple(share_drop(metric, lost, gained, len(baseline["error"]), confidence, before) for confidence in confidences)
    drop, relative = resampled_drop(asked, baseline, variant, resampling)
    if drop.is_still:
        still = unmoved(asked, drop.value, baseline)
        return tuple(_unmoved_drop(metric, still, before, confidence) for confidence in confidences)
    return tuple(_moved_drop(metric, drop, relative, confidence) for confidence in confidences)


def is_exact(metric: Metric, scores: Scores) -> bool:
    """Whether the drop is tested exactly: a share of samples that stand alone."""
    return metric.share_of is not None and CLUSTER not in scores


def flipped(metric: Metric, baseline: Scores, variant: Scores) -> tuple[int, int]:
    """How many samples the variant lost and gained, in the column whose share the metric is."""
    before, after = (scores[str(metric.share_of)].astype(np.int64) for scores in (baseline, variant))
    fallen, risen = int((before > after).sum()), int((after > before).sum())
    return (fallen, risen) if metric.better == "higher" else (risen, fallen)


def accuracy_drop(lost: int, gained: int, samples: int, confidence: float) -> Drop:
    """The drop of accuracy, from the samples that only the baseline (lost) or only the variant (gained) had right."""
    return share_drop(ACCURACY, lost, gained, samples, confidence)


def share_drop(metric: str, lost: int, gained: int, samples: int, confidence: float, before: float = 0.0) -> Drop:
    """The drop of a share of samples, of which the baseline has `before`: only its relative drop needs that.

    The relative interval takes the baseline's share as it was found, whose own error counts by the drop, which is small, alone.
    """
    value, (low, high) = (lost - gained) / samples, tango_interval(lost, gained, samples, confidence)
    return Drop(
        metric=metric,
        value=value,
        ci=(low, high),
        p_value=mcnemar_p(lost, gained),
        test="mcnemar",
        detectable=detectable_drop(samples, lost, gained, confidence),
        relative_value=value / before if before else None,
        relative_ci=(low / before, high / before) if before else None,
    )


def resampled_drop(metric: Metric, baseline: Scores, variant: Scores, resampling: Resampling) -> tuple[Resampled, Resampled | None]:
    """The drop, and it as a share of the baseline's figure, by paired bootstrap."""
    tables: Sequence[Scores] = (baseline, variant)
    if is_studentised(metric):
        return studentised_drop(metric, tables, resampling.resamples, resampling.seed)
    draws = metric_draws({"": metric}, tables, resamples=resampling.resamples, seed=resampling.seed)
    before, after = (found[""] for found in draws)
    falls = before - after if metric.better == "higher" else after - before
    base = float(metric.figure(baseline))
    drop = Resampled(worse_by(metric, base, float(metric.figure(variant))), falls)
    if base == 0:
        return drop, None
    shares = np.divide(falls, np.abs(before), out=np.zeros_like(falls), where=before != 0)
    return drop, Resampled(drop.value / abs(base), shares)


def tango_interval(lost: int, gained: int, samples: int, confidence: float) -> Limits:
    """Score interval of the paired difference (lost - gained)/samples (Tango 1998, Statistics in Medicine 17:891-908).

    It has a width where nothing flipped, and keeps its coverage for few flips, which the Wald interval does not.
    """
    estimate, z = (lost - gained) / samples, float(stats.norm.isf((1 - confidence) / 2))

    def score(difference: float) -> float:
        return tango_score(difference, lost, gained, samples)

    low = -1.0 if estimate == -1 else optimize.brentq(lambda value: score(value) - z, -1 + 1e-12, estimate)
    high = 1.0 if estimate == 1 else optimize.brentq(lambda value: score(value) + z, estimate, 1 - 1e-12)
    return float(low), float(high)


def tango_score(difference: float, lost: int, gained: int, samples: int) -> float:
    """How many standard errors the observed drop lies above `difference`, were that the true one (restricted ML estimate)."""
    shift = lost - gained - samples * difference
    if shift == 0:
        return 0.0
    linear = (2 * samples - lost + gained) * difference - lost - gained
    root = math.sqrt(max(0.0, linear**2 + 8 * samples * gained * difference * (1 - difference)))
    gained_share = (root - linear) / (4 * samples)
    variance = samples * (2 * gained_share + difference * (1 - difference))
    return shift / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, shift)


@dataclass(frozen=True)
class Unmoved:
    """A drop of which no resample differs: nothing seen is no proof of nothing.

    As many units (samples, or clusters of them) may differ as of a share without flips, each by `reach` at most.
    """

    value: float
    units: int
    reach: float

    def interval(self, confidence: float) -> Limits:
        """The interval of the true drop."""
        low, high = tango_interval(0, 0, self.units, confidence)
        return self.value + self.reach * low, self.value + self.reach * high


def unmoved(metric: Metric, value: float, baseline: Scores) -> Unmoved:
    """A drop of this value in all samples alike; a metric without bounds reaches as far as the baseline's column (or error) does."""
    clusters = cluster_of(baseline)
    units = len(baseline["error"]) if clusters is None else 1 + int(clusters.max())
    return Unmoved(value, units, 1.0 if metric.unit in BOUNDED else float(np.ptp(baseline[metric.mean_of or "error"])))


def _unmoved_drop(metric: str, still: Unmoved, before: float, confidence: float) -> Drop:
    low, high = still.interval(confidence)
    return Drop(
        metric=metric,
        value=still.value,
        ci=(low, high),
        p_value=mcnemar_p(still.units, 0) if still.value else 1.0,
        test="bootstrap",
        detectable=still.reach * detectable_drop(still.units, 0, 0, confidence),
        relative_value=still.value / abs(before) if before else None,
        relative_ci=(low / abs(before), high / abs(before)) if before else None,
    )


def _moved_drop(metric: str, drop: Resampled, relative: Resampled | None, confidence: float) -> Drop:
    reach = stats.norm.isf((1 - confidence) / 2) + stats.norm.ppf(TARGET_POWER)
    return Drop(
        metric=metric,
        value=drop.value,
        ci=drop.interval(confidence),
        p_value=drop.two_sided(),
        test="bootstrap",
        detectable=float(reach * drop.draws.std(ddof=1)),
        relative_value=None if relative is None else relative.value,
        relative_ci=None if relative is None else relative.interval(confidence),
    )
