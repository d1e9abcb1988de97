"""Bootstrap intervals: right, seeded, and the vectorised way the same as the long one."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from slimline.measure.bootstrap import count_metrics, metric_draws
from slimline.measure.quality import quality
from slimline.workloads.table import classification_metrics

CLASSES = 4


def logits_of(predicted: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.eye(CLASSES, dtype=np.float32)[predicted]


def sample(errors: float, samples: int = 300, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, CLASSES, samples)
    wrong = generator.random(samples) < errors
    return logits_of(np.where(wrong, (targets + 1) % CLASSES, targets)), targets


def renamed(outputs: NDArray[np.float32], targets: NDArray[np.int64]) -> Mapping[str, float]:
    """The same metrics under names that the vectorised way does not know."""
    return {f"my_{name}": value for name, value in classification_metrics(outputs, targets).items()}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_metrics_from_counts_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    targets, predicted = (np.array(values) for values in zip(*pairs, strict=True))
    right, guessed, true = (
        np.bincount(values, minlength=CLASSES).astype(float) for values in (targets[targets == predicted], predicted, targets)
    )
    expected = classification_metrics(logits_of(predicted), targets)
    found = {name: float(value) for name, value in count_metrics(right, guessed, true).items()}
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_interval_of_accuracy_is_that_of_scipys_bootstrap() -> None:
    outputs, targets = sample(0.1)
    found = quality(outputs, targets, classification_metrics, 4000, 0.95, 0)["accuracy"]
    right = (outputs.argmax(axis=1) == targets).astype(float)
    reference = stats.bootstrap((right,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert found["value"] == right.mean()
    assert found["ci"] == pytest.approx([reference.low, reference.high], abs=0.005)


def test_the_vectorised_draws_spread_like_the_looped_ones() -> None:
    outputs, targets = sample(0.15)
    fast = metric_draws([outputs], targets, classification_metrics, resamples=600, seed=1)[0]
    slow = metric_draws([outputs], targets, renamed, resamples=600, seed=1)[0]
    for name in ("accuracy", "precision", "recall", "f1"):
        assert fast[name].std() == pytest.approx(slow[f"my_{name}"].std(), rel=0.15)
        assert fast[name].mean() == pytest.approx(slow[f"my_{name}"].mean(), abs=0.003)


def test_two_models_are_drawn_on_the_same_samples() -> None:
    outputs, targets = sample(0.2)
    first, second = metric_draws([outputs, outputs], targets, classification_metrics, resamples=50, seed=0)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_seed_gives_the_same_intervals_and_another_seed_others() -> None:
    outputs, targets = sample(0.1)
    first, again, other = (quality(outputs, targets, classification_metrics, 500, 0.95, seed) for seed in (3, 3, 4))
    assert first == again
    assert first["f1"]["ci"] != other["f1"]["ci"]


def test_a_metric_of_a_known_name_but_other_meaning_is_not_taken_for_it() -> None:
    def weighted(outputs: NDArray[np.float32], targets: NDArray[np.int64]) -> dict[str, float]:
        return {"accuracy": float((outputs.argmax(axis=1) == targets).mean()), "f1": float(outputs[targets == 0].argmax(axis=1).mean())}

    outputs, targets = sample(0.2)
    found = quality(outputs, targets, weighted, 300, 0.95, 0)
    low, high = found["f1"]["ci"]
    assert low <= found["f1"]["value"] <= high
    assert found["f1"]["value"] == weighted(outputs, targets)["f1"]


def test_no_errors_in_n_samples_still_leave_an_interval() -> None:
    targets = np.arange(100) % CLASSES
    found = quality(logits_of(targets), targets, classification_metrics, 500, 0.95, 0)
    exact = stats.binomtest(100, 100).proportion_ci(0.95, method="exact")
    assert found["accuracy"]["ci"] == pytest.approx([exact.low, 1.0])
    assert found["f1"]["ci"][0] < 1.0
