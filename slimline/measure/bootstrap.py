"""Bootstrap draws of an objective's metrics, paired over models, vectorised where a metric says how (Efron & Tibshirani 1993, ch. 6).

Resampling N samples with replacement is a count of how often each is drawn. Where a metric follows from whole numbers alone, equal
samples are one cell, and the counts of cells are one multinomial draw. Samples that share a `cluster` are drawn together.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimline.objectives import Metric, Scores, taken_scores

Floats = NDArray[np.float64]
CLUSTER = "cluster"
CELLS_AT_ONCE = 1_500_000
"""Three arrays of 8 bytes each are held of them: 36 MB, however many samples there are."""


def metric_draws(metrics: Mapping[str, Metric], tables: Sequence[Scores], *, resamples: int, seed: int) -> list[dict[str, Floats]]:
    """Each model's metrics on `resamples` bootstrap samples, the same samples for every model: name -> [resamples].

    `tables` holds the scores of each model on the same samples. A metric that says nothing of how is called once a resample.
    """
    found: dict[str, list[Floats]] = {}
    clusters = cluster_of(tables[0])
    for columns in {metric.counted: None for metric in metrics.values()}:
        chosen = {name: metric for name, metric in metrics.items() if metric.counted == columns}
        if columns and clusters is None:
            found |= _counted_draws(chosen, columns, tables, resamples, seed)
        else:
            found |= _drawn(chosen, tables, clusters, resamples, seed)
    return [{name: found[name][model] for name in metrics} for model in range(len(tables))]


def percentile_interval(draws: Floats, confidence: float) -> tuple[float, float]:
    """The central share `confidence` of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def cluster_of(scores: Scores) -> NDArray[np.int64] | None:
    """Which cluster each sample is of, from 0 on [N]; None where every sample stands alone."""
    return np.unique(scores[CLUSTER], return_inverse=True)[1] if CLUSTER in scores else None


def effective_units(weights: NDArray[Any]) -> float:
    """As many units of equal weight say as much as these, weights [units] of which some are more than 0 (Kish 1965, Survey Sampling)."""
    return float(weights.sum()) ** 2 / float((weights.astype(np.float64) ** 2).sum())


def count_draws(units: int, width: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each of the units is in every resample [some resamples, units], as many at once as fit; `width` numbers a resample."""
    generator = np.random.default_rng(seed)
    for size in _chunks(resamples, max(1, CELLS_AT_ONCE // max(units, width))):
        drawn = generator.integers(0, units, (size, units))
        drawn += units * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units).astype(np.float64)


def resampled_figures(metric: Metric, scores: Scores, counts: Floats) -> Floats:
    """The metric of every resample, from how often each sample is in it [resamples, N]."""
    if metric.weighted is not None:
        return np.asarray(metric.weighted(scores, counts), dtype=np.float64)
    if column := metric.share_of or metric.mean_of:
        return np.asarray(counts @ scores[column].astype(np.float64) / counts.sum(axis=1))
    if metric.ratio_of:
        above, below = (counts @ scores[name].astype(np.float64) for name in metric.ratio_of)
        return np.divide(above, below, out=np.zeros_like(above), where=below != 0)
    rows, every = counts.astype(np.int64), np.arange(counts.shape[1])
    return np.array([metric.figure(taken_scores(scores, np.repeat(every, often))) for often in rows])


def _counted_draws(
    metrics: Mapping[str, Metric], columns: tuple[str, ...], tables: Sequence[Scores], resamples: int, seed: int
) -> dict[str, list[Floats]]:
    """The draws of metrics of whole numbers, from the counts of distinct rows of all models' columns."""
    stacked = np.column_stack([table[name] for table in tables for name in columns])
    cells, occurrences = np.unique(stacked, axis=0, return_counts=True)
    rows = [dict(zip(columns, cells[:, start : start + len(columns)].T, strict=True)) for start in range(0, cells.shape[1], len(columns))]
    generator, pieces = np.random.default_rng(seed), []
    for size in _chunks(resamples, max(1, CELLS_AT_ONCE // max(len(cells), 1 + int(cells.max())))):
        counts = generator.multinomial(len(stacked), occurrences / len(stacked), size=size).astype(np.float64)
        pieces.append({name: [resampled_figures(metric, row, counts) for row in rows] for name, metric in metrics.items()})
    return _joined(pieces)


def _drawn(
    metrics: Mapping[str, Metric], tables: Sequence[Scores], clusters: NDArray[np.int64] | None, resamples: int, seed: int
) -> dict[str, list[Floats]]:
    samples = len(tables[0]["error"])
    pieces = []
    for drawn in count_draws(samples if clusters is None else 1 + int(clusters.max()), samples, resamples, seed):
        counts = drawn if clusters is None else drawn[:, clusters]
        pieces.append({name: [resampled_figures(metric, table, counts) for table in tables] for name, metric in metrics.items()})
    return _joined(pieces)


def _joined(pieces: Sequence[Mapping[str, list[Floats]]]) -> dict[str, list[Floats]]:
    return {name: [np.concatenate(model) for model in zip(*(piece[name] for piece in pieces), strict=True)] for name in pieces[0]}


def _chunks(total: int, size: int) -> Iterator[int]:
    yield from (min(size, total - start) for start in range(0, total, size))
