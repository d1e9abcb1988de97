"""Two models on the very same samples, from what their answers were wrong by: exact where answers are right or wrong, else by paired t."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from slimline.verdict.difference import accuracy_drop
from slimline.verdict.mcnemar import mcnemar_p
from slimline.verdict.words import FRACTION

Errors = NDArray[np.float64]


@dataclass(frozen=True)
class PairedErrors:
    """The share of right answers, or the mean error, of a first and a second model; `drop` is by how much the second is worse.

    `lost` and `gained` count the samples that only the first, or only the second, had right; None where answers are not right or wrong.
    """

    first: float
    second: float
    drop: float
    ci: tuple[float, float]
    p_value: float
    test: str
    unit: str
    samples: int
    lost: int | None
    gained: int | None


def paired_errors(first: Errors, second: Errors, confidence: float) -> PairedErrors:
    """Compare the errors of two models, one number a sample each."""
    samples = len(first)
    if set(np.unique(first)) | set(np.unique(second)) <= {0, 1}:
        lost, gained = int(((first == 0) & (second != 0)).sum()), int(((second == 0) & (first != 0)).sum())
        found = accuracy_drop(lost, gained, samples, confidence)
        shares = float((first == 0).mean()), float((second == 0).mean())
        return PairedErrors(*shares, found.value, found.ci, found.p_value, "McNemar", FRACTION, samples, lost, gained)
    grown = second - first
    if np.ptp(grown) == 0:
        value, p_value = float(grown[0]), mcnemar_p(samples, 0) if grown[0] else 1.0
        return PairedErrors(float(first.mean()), float(second.mean()), value, (value, value), p_value, "paired t", "", samples, None, None)
    test = stats.ttest_rel(second, first)
    low, high = test.confidence_interval(confidence)
    ends, p_value = (float(low), float(high)), float(test.pvalue)
    return PairedErrors(float(first.mean()), float(second.mean()), float(grown.mean()), ends, p_value, "paired t", "", samples, None, None)
