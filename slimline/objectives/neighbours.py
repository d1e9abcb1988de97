"""Whether two sets of vectors of the same samples say the same of which samples are alike."""

import numpy as np
from numpy.typing import NDArray

from slimline.objectives import Scores
from slimline.objectives.columns import Floats

COMPARED = 512
"""Samples whose similarities are ranked, at most."""
SEARCHED = 2048
"""Samples among which neighbours are looked for, at most."""
NEIGHBOURS = 10


def evenly(samples: int, most: int) -> NDArray[np.int64]:
    """At most so many rows, spread evenly over all."""
    return np.arange(samples) if samples <= most else np.linspace(0, samples - 1, most).round().astype(np.int64)


def rank_correlation(scores: Scores, counts: Floats) -> Floats:
    """Spearman's correlation of the cosine similarities of all pairs of samples in `output` and in `target`, of each resample.

    A sample that was drawn twice is no pair with itself. 1 where there are too few pairs to rank.
    """
    rows = evenly(len(scores["error"]), COMPARED)
    first, second = np.triu_indices(len(rows), 1)
    ranked = [_ordered(_similarities(scores[name][rows])[first, second]) for name in ("output", "target")]
    return np.array([_weighted_spearman(ranked, drawn[first] * drawn[second]) for drawn in counts[:, rows]])


def neighbours_kept(scores: Scores, counts: Floats) -> Floats:
    """The share of each sample's ten nearest others in `target` (by cosine) that are so in `output` too, averaged, of each resample."""
    rows = evenly(len(scores["error"]), SEARCHED)
    near = min(NEIGHBOURS, len(rows) - 1)
    if near == 0:
        return np.ones(len(counts))
    found, true = (_nearest(scores[name][rows], near) for name in ("output", "target"))
    kept = (found & true).sum(axis=1) / near
    drawn = counts[:, rows]
    shares: Floats = drawn @ kept / np.maximum(drawn.sum(axis=1), 1)
    return shares


def _similarities(vectors: NDArray[np.float32]) -> Floats:
    values = vectors.astype(np.float64)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    similar: Floats = values @ values.T
    return similar


def _nearest(vectors: NDArray[np.float32], near: int) -> NDArray[np.bool_]:
    """Which others are the nearest of each sample [N, N]."""
    similar = _similarities(vectors)
    np.fill_diagonal(similar, -np.inf)
    chosen = np.zeros(similar.shape, bool)
    np.put_along_axis(chosen, np.argpartition(-similar, near - 1, axis=1)[:, :near], True, axis=1)
    return chosen


def _ordered(values: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The order of values, where groups of equal ones start in it, and which group each value is of."""
    order = np.argsort(values, kind="stable")
    new = np.diff(values[order], prepend=-np.inf) > 0
    group = np.empty(len(values), np.int64)
    group[order] = np.cumsum(new) - 1
    return order, np.flatnonzero(new), group


def _weighted_spearman(ranked: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]], weights: Floats) -> float:
    """The correlation of the middle ranks, where a pair counts as often as its weight says."""
    if not weights.any():
        return 1.0
    ranks = []
    for order, starts, group in ranked:
        sizes = np.add.reduceat(weights[order], starts)
        ranks.append((np.cumsum(sizes) - sizes / 2)[group])
    first, second = (rank - np.average(rank, weights=weights) for rank in ranks)
    spread = np.sqrt((weights * first**2).sum() * (weights * second**2).sum())
    return float((weights * first * second).sum() / spread) if spread > 0 else 1.0
