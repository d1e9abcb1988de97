"""A figure with its bootstrap draws: its interval, and how surely it is not 0 or lies below a margin.

For means and ratios of sums the draws are studentised (bootstrap-t: Efron & Tibshirani 1993, ch. 12.5; Hall 1992, The Bootstrap and
Edgeworth Expansion, ch. 3): each resample's deviation is divided by its own standard error. For few or skewed samples that keeps the
coverage which percentiles fall short of. A resample of almost nothing but one large unit has next to no standard error, which would
make an interval endless: Student's t bounds it, with as many units as the sizes of these amount to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from slimline.measure.bootstrap import Floats, cluster_of, count_draws, effective_units, percentile_interval
from slimline.objectives import Metric, Scores

ROUNDING = 1e-12
BOUND = 10
"""Student's t bounds at a tenth of the error: that costs no coverage (tests/unit/test_coverage.py)."""
SPREADLESS = 0.01
"""Where more resamples than these have no spread (of four units or fewer), they tell nothing, and Student's t does at the error itself."""


@dataclass(frozen=True)
class Resampled:
    """A figure and its draws [resamples]."""

    value: float
    draws: Floats

    @property
    def is_still(self) -> bool:
        """Whether no resample differs."""
        return bool(np.ptp(self.draws) == 0)

    def interval(self, confidence: float) -> tuple[float, float]:
        """The interval of the true figure."""
        return percentile_interval(self.draws, confidence)

    def two_sided(self) -> float:
        """The p-value that the true figure is 0."""
        return min(1.0, 2 * min(self.at_least(0.0), self.at_most(0.0)))

    def at_least(self, margin: float) -> float:
        """The p-value that the true figure is `margin` or more."""
        return _share(self.draws >= margin)

    def at_most(self, margin: float) -> float:
        """The p-value that the true figure is `margin` or less."""
        return _share(self.draws <= margin)


@dataclass(frozen=True)
class Studentised(Resampled):
    """A figure with its standard error, every draw's deviation in its own, and how many units of equal size were drawn."""

    error: float
    pivots: Floats
    units: float

    @property
    def is_still(self) -> bool:
        """Whether no resample differs."""
        return self.error == 0

    def interval(self, confidence: float) -> tuple[float, float]:
        """The interval of the true figure."""
        ends = [(1 - confidence) / 2, (1 + confidence) / 2]
        reach = float(stats.t.isf(ends[0] / self._bound, self._freedom))
        low, high = np.quantile(np.clip(self.pivots, -reach, reach), ends, method="weibull").tolist() if self._tells else (-reach, reach)
        return self.value - high * self.error, self.value - low * self.error

    def at_least(self, margin: float) -> float:
        """The p-value that the true figure is `margin` or more."""
        return self._p_value(self.pivots, (self.value - margin) / self.error)

    def at_most(self, margin: float) -> float:
        """The p-value that the true figure is `margin` or less."""
        return self._p_value(-self.pivots, (margin - self.value) / self.error)

    def _p_value(self, pivots: Floats, apart: float) -> float:
        bounded = self._bound * float(stats.t.cdf(apart, self._freedom))
        return min(bounded, _share(pivots <= apart)) if self._tells else bounded

    @property
    def _tells(self) -> bool:
        return bool(np.isinf(self.pivots).mean() < SPREADLESS)

    @property
    def _bound(self) -> int:
        return BOUND if self._tells else 1

    @property
    def _freedom(self) -> float:
        return max(1.0, self.units - 1)


def _share(found: NDArray[np.bool_]) -> float:
    return float((1 + int(found.sum())) / (1 + len(found)))


def is_studentised(metric: Metric) -> bool:
    """Whether the metric is a mean or a ratio of sums, for which standard errors are known."""
    return (metric.mean_of or metric.share_of or metric.ratio_of) is not None


def studentised_figure(metric: Metric, scores: Scores, resamples: int, seed: int) -> Studentised:
    """The figure of one model."""
    value = metric.figure(scores)
    above, below = _sums(metric, scores)
    columns = np.column_stack([above - value * below, np.zeros_like(above), below, np.ones_like(above)])
    return _resampled(columns, [_Asked(value, abs(value), lambda moved, slopes, _sums: (value + moved, slopes))], resamples, seed)[0]


def studentised_drop(metric: Metric, tables: Sequence[Scores], resamples: int, seed: int) -> tuple[Studentised, Studentised | None]:
    """By how much the second model is worse than the first, and the same as a share of the first's figure (None where that is 0)."""
    before, after = (metric.figure(table) for table in tables)
    sign = 1.0 if metric.better == "higher" else -1.0
    (above, below), (above_after, below_after) = (_sums(metric, table) for table in tables)
    left, left_after = above - before * below, above_after - after * below_after
    columns = np.column_stack([left - left_after, left_after, below, below_after])
    value, size = sign * (before - after), max(abs(before), abs(after))

    def drop(moved: Floats, slopes: Floats, _sums: Floats) -> tuple[Floats, Floats]:
        return value + sign * moved, sign * slopes

    def relative(moved: Floats, slopes: Floats, sums: Floats) -> tuple[Floats, Floats]:
        base, steps = _first(sums)
        share = (value + sign * moved) / (before + base)
        found = (sign * slopes - share[:, None] * steps) / (before + base)[:, None]
        return (share, found) if before > 0 else (-share, -found)

    asked = [_Asked(value, size, drop)]
    if before:
        asked.append(_Asked(value / abs(before), size / abs(before), relative))
    found = _resampled(columns, asked, resamples, seed)
    return found[0], found[1] if before else None


@dataclass(frozen=True)
class _Asked:
    """A figure, how large what it is made of is, and how it follows from (by how much the difference moved, its slopes, the sums)."""

    value: float
    size: float
    of: Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]


def _sums(metric: Metric, scores: Scores) -> tuple[Floats, Floats]:
    """What is summed above and below the line, a resampled unit each (a sample, or a whole cluster)."""
    column, clusters = metric.share_of or metric.mean_of, cluster_of(scores)
    names = (column, None) if column else metric.ratio_of or (None, None)
    above, below = (np.ones(len(scores["error"])) if name is None else scores[name].astype(np.float64) for name in names)
    if clusters is None:
        return above, below
    return np.bincount(clusters, above).astype(np.float64), np.bincount(clusters, below).astype(np.float64)


def _resampled(columns: Floats, asked: Sequence[_Asked], resamples: int, seed: int) -> list[Studentised]:
    """From columns [units, 4]: the first residual less the second, the second, and both denominators; the delta method's errors."""
    units, width = columns.shape
    table = np.column_stack([columns, (columns[:, :, None] * columns[:, None, :]).reshape(units, -1)])
    drawn = [counts @ table for counts in count_draws(units, table.shape[1], resamples, seed)]
    sums, squares = np.split(np.concatenate([table.sum(axis=0, keepdims=True), *drawn]), [width], axis=1)
    whole = (sums[:, 2] > 0) & (sums[:, 3] > 0)
    sums, squares = sums[whole], squares[whole].reshape(-1, width, width)
    moved, slopes = _difference(sums)
    units_alike = min(effective_units(columns[:, 2]), effective_units(columns[:, 3]))
    return [_pivoted(one, *one.of(moved, slopes, sums), squares, units_alike) for one in asked]


def _pivoted(asked: _Asked, figures: Floats, slopes: Floats, squares: Floats, units: float) -> Studentised:
    """The first row is what was seen, the others are resamples."""
    errors = np.sqrt(np.maximum(0.0, np.einsum("ri,rij,rj->r", slopes, squares, slopes)))
    apart, least = figures[1:] - asked.value, ROUNDING * asked.size
    apart[np.abs(apart) <= least] = 0.0
    pivots = np.divide(apart, errors[1:], out=np.where(apart == 0, 0.0, np.copysign(np.inf, apart)), where=errors[1:] > least)
    return Studentised(asked.value, figures[1:], float(errors[0]) if errors[0] > least else 0.0, pivots, units)


def _difference(sums: Floats) -> tuple[Floats, Floats]:
    """By how much the difference of both ratios lies above the one seen, and its slopes in the four sums."""
    apart, left, below, below_after = sums.T
    one, other = 1 / below, 1 / below_after
    slopes = np.column_stack([one, one - other, -(apart + left) * one**2, left * other**2])
    return apart * one + left * (one - other), slopes


def _first(sums: Floats) -> tuple[Floats, Floats]:
    """By how much the first ratio lies above the one seen, and its slopes in the four sums."""
    apart, left, below, _ = sums.T
    one = 1 / below
    return (apart + left) * one, np.column_stack([one, one, -(apart + left) * one**2, np.zeros_like(one)])
