"""A model that knows nothing is told from one that knows little: by metric, by the commonest class, by luck."""

import numpy as np
import pytest

from slimline.verdict.chance import Chance, chance
from slimline.verdict.difference import Resampling
from slimline.workloads.table import classification_metrics

RESAMPLING = Resampling(200, 0.95, 0)


def judged(answers: np.ndarray, targets: np.ndarray, metric: str = "accuracy") -> Chance:
    return chance(
        np.eye(int(max(answers.max(), targets.max())) + 1, dtype=np.float32)[answers], targets, metric, classification_metrics, RESAMPLING
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("classes", [2, 10])
def test_answers_at_random_do_not_beat_chance(classes: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, classes, 400)
    found = judged(draw.integers(0, classes, 400), targets)
    assert not found.is_beaten


def test_one_answer_is_chance_itself() -> None:
    targets = np.repeat([0, 1], [90, 10])
    found = judged(np.zeros(100, int), targets)
    assert (found.value, found.constant, found.answer, found.is_beaten, found.knows) == (0.9, 0.9, 0, False, False)


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_a_model_that_knows_beats_chance(metric: str) -> None:
    targets = np.arange(300) % 3
    answers = np.where(np.arange(300) % 4 == 0, (targets + 1) % 3, targets)
    found = judged(answers, targets, metric)
    assert found.is_beaten
    assert found.is_shown


def test_a_rare_class_that_is_found_is_knowledge_though_too_little_to_show() -> None:
    targets = np.repeat([0, 1], [990, 10])
    answers = targets.copy()
    answers[[1, 2]], answers[[995, 996, 997]] = 1, 0
    found = judged(answers, targets)
    assert found.value == 0.995
    assert found.is_beaten
    assert not found.is_shown


def test_worse_than_the_commonest_class_is_refused_by_that_metric_alone() -> None:
    targets = np.repeat([0, 1], [950, 50])
    answers = targets.copy()
    answers[:80] = 1
    assert not judged(answers, targets).is_beaten
    assert judged(answers, targets, "f1").is_beaten
