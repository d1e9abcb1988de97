"""A model that knows nothing is told from one that knows little: by metric, by the commonest answer, by luck."""

import numpy as np
import pytest
import torch
from torch import Tensor

from slimline.objectives import Objective
from slimline.objectives.classification import classification
from slimline.objectives.multilabel import multilabel
from slimline.objectives.regression import regression
from slimline.verdict.chance import Chance, chance
from slimline.verdict.difference import Resampling

RESAMPLING = Resampling(200, 0.95, 0)


def compared(objective: Objective, outputs: Tensor, targets: Tensor, metric: str) -> Chance:
    scores, constant = (objective.scores(given, targets) for given in (outputs, objective.constant(targets, outputs)))
    return chance(objective, metric, scores, constant, RESAMPLING)


def judged(answers: np.ndarray, targets: np.ndarray, metric: str = "accuracy") -> Chance:
    classes = int(max(answers.max(), targets.max())) + 1
    objective = classification([str(index) for index in range(max(classes, 2))])
    return compared(objective, torch.eye(max(classes, 2))[torch.from_numpy(answers)], torch.from_numpy(targets), metric)


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
    assert (found.value, found.constant, found.answer, found.is_beaten, found.knows) == (0.9, 0.9, "0", False, False)


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


@pytest.mark.parametrize("seed", range(10))
def test_numbers_at_random_do_not_beat_the_mean(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    targets, outputs = torch.randn(200, generator=draw), 0.2 * torch.randn(200, generator=draw)
    assert not compared(regression(unit="m"), outputs, targets, "mean_absolute_error").is_beaten


@pytest.mark.parametrize("metric", ["mean_absolute_error", "root_mean_squared_error", "r2"])
def test_numbers_that_know_beat_the_mean(metric: str) -> None:
    draw = torch.Generator().manual_seed(0)
    targets = torch.randn(200, generator=draw)
    found = compared(regression(unit="m"), 0.5 * targets + 0.3 * torch.randn(200, generator=draw), targets, metric)
    assert found.is_beaten
    assert found.answer.endswith(" m")
    assert not compared(regression(unit="m"), -targets, targets, metric).is_beaten


def test_labels_that_know_beat_the_commonest_ones() -> None:
    draw = torch.Generator().manual_seed(0)
    targets = (torch.randn(200, 5, generator=draw) > 0.3).float()
    knows, guesses = targets - 0.5 + torch.randn(200, 5, generator=draw), torch.randn(200, 5, generator=draw)
    assert compared(multilabel("abcde"), knows, targets, "f1").is_beaten
    assert not compared(multilabel("abcde"), guesses, targets, "hamming_accuracy").is_beaten
