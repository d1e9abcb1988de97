"""Bootstrap draws of a workload's metrics, paired over models, vectorised where a metric follows from counts per class.

Resampling N samples with replacement is a multinomial draw over the cells (target, prediction of each model), so that
accuracy and the macro averages of precision, recall and F1 need no loop over resamples (Efron & Tibshirani 1993, ch. 6).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Metrics = Callable[[NDArray[np.float32], NDArray[np.int64]], Mapping[str, float]]
"""(logits [N, classes], class indices [N]) -> named figures, the higher the better."""
Floats = NDArray[np.float64]

SAME_FIGURE = 1e-9
CELLS_AT_ONCE = 4_000_000


def count_metrics(right: Floats, predicted: Floats, true: Floats) -> dict[str, Floats]:
    """Accuracy and macro-averaged precision, recall and F1 from counts per class [..., classes].

    A class that is neither true nor predicted is left out of the averages, as scikit-learn does; 0/0 counts as 0.
    """
    present = (true + predicted) > 0
    classes = present.sum(axis=-1)
    return {
        "accuracy": right.sum(axis=-1) / true.sum(axis=-1),
        "precision": _ratio(right, predicted).sum(axis=-1) / classes,
        "recall": _ratio(right, true).sum(axis=-1) / classes,
        "f1": _ratio(2 * right, true + predicted).sum(axis=-1) / classes,
    }


def metric_draws(
    outputs: Sequence[NDArray[np.float32]], targets: NDArray[np.int64], metrics: Metrics, *, resamples: int, seed: int
) -> list[dict[str, Floats]]:
    """Each model's metrics on `resamples` bootstrap samples, the same samples for every model: name -> [resamples].

    `outputs` holds one array of logits [N, classes] a model. A metric that is no function of counts per class is
    computed by calling `metrics` once a resample.
    """
    predictions = [logits.argmax(axis=1) for logits in outputs]
    points = [metrics(logits, targets) for logits in outputs]
    counted = _counted_names(predictions, targets, points)
    draws: list[dict[str, Floats]] = [{} for _ in outputs]
    if counted:
        draws = [{name: values[name] for name in counted} for values in _counted_draws(predictions, targets, resamples, seed)]
    rest = [name for name in points[0] if name not in counted]
    if rest:
        for model, values in zip(draws, _called_draws(outputs, targets, metrics, resamples, seed), strict=True):
            model.update({name: values[name] for name in rest})
    return draws


def percentile_interval(draws: Floats, confidence: float) -> tuple[float, float]:
    """The central share `confidence` of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)


def _counted_names(predictions: list[NDArray[np.int64]], targets: NDArray[np.int64], points: list[Mapping[str, float]]) -> list[str]:
    """The metrics whose figures are those that counts per class give, for every model."""
    classes = 1 + max(int(targets.max()), *(int(prediction.max()) for prediction in predictions))
    names = list(points[0])
    for prediction, point in zip(predictions, points, strict=True):
        right = np.bincount(targets[prediction == targets], minlength=classes).astype(np.float64)
        predicted, true = (np.bincount(values, minlength=classes).astype(np.float64) for values in (prediction, targets))
        figures = count_metrics(right, predicted, true)
        names = [name for name in names if name in figures and abs(float(figures[name]) - point[name]) < SAME_FIGURE]
    return names


def _counted_draws(predictions: list[NDArray[np.int64]], targets: NDArray[np.int64], resamples: int, seed: int) -> list[dict[str, Floats]]:
    cells, occurrences = np.unique(np.column_stack([targets, *predictions]), axis=0, return_counts=True)
    classes = np.eye(1 + int(cells.max()))
    true, generator = cells[:, 0], np.random.default_rng(seed)
    pieces: list[list[dict[str, Floats]]] = []
    for size in _chunks(resamples, max(1, CELLS_AT_ONCE // max(len(cells), len(classes)))):
        counts = generator.multinomial(len(targets), occurrences / len(targets), size=size).astype(np.float64)
        pieces.append([_cell_metrics(counts, cells[:, column], true, classes) for column in range(1, cells.shape[1])])
    return [{name: np.concatenate([model[name] for model in models]) for name in models[0]} for models in zip(*pieces, strict=True)]


def _cell_metrics(counts: Floats, predicted: NDArray[np.int64], true: NDArray[np.int64], classes: Floats) -> dict[str, Floats]:
    """Metrics of each row of cell counts [resamples, cells], where a cell has one prediction and one true class."""
    return count_metrics((counts * (predicted == true)) @ classes[true], counts @ classes[predicted], counts @ classes[true])


def _called_draws(
    outputs: Sequence[NDArray[np.float32]], targets: NDArray[np.int64], metrics: Metrics, resamples: int, seed: int
) -> list[dict[str, Floats]]:
    generator = np.random.default_rng(seed)
    figures: list[list[Mapping[str, float]]] = [[] for _ in outputs]
    for _ in range(resamples):
        chosen = generator.integers(0, len(targets), len(targets))
        for found, logits in zip(figures, outputs, strict=True):
            found.append(metrics(logits[chosen], targets[chosen]))
    return [{name: np.array([figure[name] for figure in found]) for name in found[0]} for found in figures]


def _chunks(total: int, size: int) -> Iterator[int]:
    yield from (min(size, total - start) for start in range(0, total, size))
