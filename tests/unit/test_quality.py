"""Bootstrap intervals: right, seeded, and the vectorised way the same as the long one."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from slimline.measure.bootstrap import metric_draws
from slimline.measure.quality import quality
from slimline.objectives import Metric, Scores
from slimline.objectives.classification import classification
from slimline.objectives.macro import count_metrics
from slimline.objectives.regression import regression
from tests.classification_metrics import classification_metrics

CLASSES = 4
FOUR = classification("abcd")
COUNTED = {name: metric for name, metric in FOUR.metrics.items() if metric.counted}
LOOPED = {name: dataclasses.replace(metric, weighted=None, counted=(), share_of=None) for name, metric in COUNTED.items()}


def scores_of(predicted: np.ndarray, targets: np.ndarray) -> Scores:
    return FOUR.scores(torch.eye(CLASSES)[torch.from_numpy(predicted)], torch.from_numpy(targets))


def sample(errors: float, samples: int = 300, seed: int = 0) -> Scores:
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, CLASSES, samples)
    wrong = generator.random(samples) < errors
    return scores_of(np.where(wrong, (targets + 1) % CLASSES, targets), targets)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_metrics_from_counts_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    targets, predicted = (np.array(values) for values in zip(*pairs, strict=True))
    right, guessed, true = (
        np.bincount(values, minlength=CLASSES).astype(float) for values in (targets[targets == predicted], predicted, targets)
    )
    expected = classification_metrics(np.eye(CLASSES, dtype=np.float32)[predicted], targets)
    found = {name: float(value) for name, value in count_metrics(right, guessed, true).items()}
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_interval_of_accuracy_is_that_of_scipys_bootstrap() -> None:
    scores = sample(0.1)
    found = quality(FOUR, scores, 4000, 0.95, 0)["accuracy"]
    right = scores["correct"].astype(float)
    reference = stats.bootstrap((right,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert found["value"] == right.mean()
    assert found["ci"] == pytest.approx([reference.low, reference.high], abs=0.005)


def test_the_interval_of_a_mean_is_about_students() -> None:
    objective, errors = regression(unit="m"), torch.randn(60, generator=torch.Generator().manual_seed(0)).abs()
    scores = objective.scores(errors, torch.zeros(60))
    found = quality(objective, scores, 4000, 0.95, 0)["mean_absolute_error"]
    expected = stats.t.interval(0.95, 59, errors.mean().item(), errors.std().item() / np.sqrt(60))
    assert found["ci"] == pytest.approx(expected, abs=0.03)


def test_the_vectorised_draws_spread_like_the_looped_ones() -> None:
    scores = sample(0.15)
    fast, slow = (metric_draws(metrics, [scores], resamples=600, seed=1)[0] for metrics in (COUNTED, LOOPED))
    for name in ("accuracy", "precision", "recall", "f1"):
        assert fast[name].std() == pytest.approx(slow[name].std(), rel=0.15)
        assert fast[name].mean() == pytest.approx(slow[name].mean(), abs=0.003)


def test_the_looped_draws_are_the_vectorised_ones_where_neither_counts_cells() -> None:
    scores = sample(0.15)
    plain = {name: dataclasses.replace(metric, counted=()) for name, metric in COUNTED.items()}
    fast, slow = (metric_draws(metrics, [scores], resamples=60, seed=1)[0] for metrics in (plain, LOOPED))
    assert all(np.allclose(fast[name], slow[name], rtol=1e-12) for name in COUNTED)


def test_two_models_are_drawn_on_the_same_samples() -> None:
    scores = sample(0.2)
    first, second = metric_draws(FOUR.metrics, [scores, scores], resamples=50, seed=0)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_seed_gives_the_same_intervals_and_another_seed_others() -> None:
    scores = sample(0.1)
    first, again, other = (quality(FOUR, scores, 500, 0.95, seed) for seed in (3, 3, 4))
    assert first == again
    assert first["f1"]["ci"] != other["f1"]["ci"]


def test_a_metric_of_a_known_name_but_other_meaning_is_not_taken_for_it() -> None:
    other = Metric(lambda scores: float(scores["answer"][scores["target"] == 0].mean()))
    objective, scores = dataclasses.replace(FOUR, metrics={**FOUR.metrics, "f1": other}), sample(0.2)
    found = quality(objective, scores, 300, 0.95, 0)
    low, high = found["f1"]["ci"]
    assert low <= found["f1"]["value"] <= high
    assert found["f1"]["value"] == other.figure(scores)


def test_no_errors_in_n_samples_still_leave_an_interval() -> None:
    targets = np.arange(100) % CLASSES
    found = quality(FOUR, scores_of(targets, targets), 500, 0.95, 0)
    exact = stats.binomtest(100, 100).proportion_ci(0.95, method="exact")
    assert found["accuracy"]["ci"] == pytest.approx([exact.low, 1.0])
    assert found["f1"]["ci"][0] < 1.0
