"""Two models on the very same samples, from what their answers were wrong by: exact where answers are right or wrong, else by paired t.

Samples that belong together (windows of a document, images of a patient) are resampled as one, as the gate does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from slimline.measure.bootstrap import CLUSTER
from slimline.objectives.columns import mean
from slimline.verdict.difference import Resampling, accuracy_drop, drops_of
from slimline.verdict.mcnemar import mcnemar_p
from slimline.verdict.words import FRACTION

if TYPE_CHECKING:
    import pandas as pd

Errors = NDArray[np.float64]
Clusters = NDArray[Any]
RESAMPLES, SEED = 2000, 0


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


def paired_errors(first: Errors, second: Errors, confidence: float, clusters: Clusters | None = None) -> PairedErrors:
    """Compare the errors of two models, one number a sample each; `clusters` says which samples belong together [N]."""
    samples = len(first)
    if clusters is not None:
        return _by_cluster(first, second, confidence, clusters)
    if _are_right_or_wrong(first, second):
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


def clusters_of(columns: "Mapping[str, Any] | pd.DataFrame") -> Clusters | None:
    """Which samples belong together, of scores or of predictions.parquet; None where every sample stands alone."""
    return np.asarray(columns[CLUSTER]) if CLUSTER in columns else None


def _are_right_or_wrong(first: Errors, second: Errors) -> bool:
    return set(np.unique(first)) | set(np.unique(second)) <= {0, 1}


def _by_cluster(first: Errors, second: Errors, confidence: float, clusters: Clusters) -> PairedErrors:
    """By the gate's bootstrap over whole clusters; what is lost and gained is not counted, since samples do not stand alone."""
    unit, metric = (FRACTION, mean("right")) if _are_right_or_wrong(first, second) else ("", mean("error", "", "lower"))
    before, after = ({"error": errors, "right": 1 - errors, CLUSTER: clusters} for errors in (first, second))
    found = drops_of("error", metric, before, after, Resampling(RESAMPLES, confidence, SEED), (confidence,))[0]
    figures = metric.figure(before), metric.figure(after)
    return PairedErrors(*figures, found.value, found.ci, found.p_value, "bootstrap", unit, len(first), None, None)
