"""Averages over classes from counts, of many resamples at once."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from slimline.objectives import Scores
from slimline.objectives.columns import Floats, divided

COUNTED = ("target", "answer")


def count_metrics(right: Floats, predicted: Floats, true: Floats) -> dict[str, Floats]:
    """Accuracy and macro-averaged precision, recall and F1 from counts per class [..., classes].

    A class that is neither true nor predicted is left out of the averages, as scikit-learn does; 0/0 counts as 0.
    """
    present = (true + predicted) > 0
    classes = present.sum(axis=-1)
    return {
        "accuracy": right.sum(axis=-1) / true.sum(axis=-1),
        "precision": divided(right, predicted).sum(axis=-1) / classes,
        "recall": divided(right, true).sum(axis=-1) / classes,
        "f1": divided(2 * right, true + predicted).sum(axis=-1) / classes,
    }


def counted_metric(name: str) -> Callable[[Scores, Floats], Floats]:
    """The named one of these metrics, from answers and targets [K] and how often each is in every resample [resamples, K]."""

    def weighted(scores: Scores, counts: Floats) -> Floats:
        true, predicted = (np.asarray(scores[column]) for column in COUNTED)
        classes = np.eye(1 + int(max(true.max(), predicted.max())))
        return count_metrics((counts * (predicted == true)) @ classes[true], counts @ classes[predicted], counts @ classes[true])[name]

    return weighted


def area_under_curve(above: NDArray[np.float64], positive: NDArray[np.int64], counts: Floats) -> Floats:
    """How likely a positive sample scores above a negative one, a tie counting half (Mann-Whitney) [resamples].

    `above` are the scores [K], `positive` is 1 or 0 [K], `counts` how often each sample is in every resample [resamples, K]. 0.5 where
    one kind is missing.
    """
    order = np.argsort(above, kind="stable")
    starts = np.flatnonzero(np.diff(above[order], prepend=-np.inf))
    weights, kind = counts[:, order], positive[order].astype(bool)
    positives, negatives = (np.add.reduceat(weights * which, starts, axis=1) for which in (kind, ~kind))
    below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    return np.asarray(np.divide((positives * below).sum(axis=1), pairs, out=np.full(len(counts), 0.5), where=pairs > 0))
