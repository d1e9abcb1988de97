"""Metrics by what they make of the columns of scores, so that thousands of resamples are computed at once."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from slimline.objectives import Metric, Scores, Unit

Floats = NDArray[np.float64]
Weighted = Callable[[Scores, NDArray[Any]], NDArray[Any]]
Better = Literal["higher", "lower"]


def share(column: str) -> Metric:
    """The share of samples with a 1 in a column of 0 and 1."""
    return Metric(lambda scores: float(scores[column].mean()), share_of=column)


def mean(column: str, unit: Unit = "fraction", better: Better = "higher") -> Metric:
    """The mean of a column of numbers."""
    return Metric(lambda scores: float(scores[column].mean()), unit, better, mean_of=column)


def ratio(above: str, below: str, unit: Unit = "fraction", better: Better = "higher") -> Metric:
    """The sum of one column over the sum of another; 0 where both are 0."""

    def figure(scores: Scores) -> float:
        whole = scores[below].sum()
        return float(scores[above].sum() / whole) if whole else 0.0

    return Metric(figure, unit, better, ratio_of=(above, below))


def smooth(weighted: Weighted, unit: Unit = "fraction", better: Better = "higher") -> Metric:
    """Any function of samples of which each may count several times, or not at all."""
    return Metric(lambda scores: float(weighted(scores, np.ones((1, len(scores["error"]))))[0]), unit, better, weighted=weighted)


def divided(above: Floats, below: Floats) -> Floats:
    """The ratio, 0 where it is 0/0."""
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)
