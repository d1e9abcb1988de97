"""Flips both ways, the samples that got worst, confidences and recall per class from scores."""

from typing import Any

import numpy as np
import pytest
import torch

from slimline.data.batch import Tensors
from slimline.measure.flips import Flips, flips, predictions_table, worst
from slimline.objectives.classification import Classification, classification
from slimline.objectives.embedding import embedding
from slimline.objectives.multilabel import multilabel
from slimline.objectives.regression import regression

FOUR = classification(("zero", "one", "two", "three"))
TARGETS = torch.tensor([0, 0, 1, 1, 2])
BASELINE = torch.eye(3)[[0, 0, 1, 0, 2]] * 4
VARIANT = torch.eye(3)[[0, 1, 2, 1, 2]] * 2
BEFORE, AFTER = FOUR.scores(BASELINE, TARGETS), FOUR.scores(VARIANT, TARGETS)


def test_lost_and_gained() -> None:
    assert flips(BEFORE, AFTER) == Flips(lost=2, gained=1)
    assert flips(AFTER, BEFORE) == Flips(lost=1, gained=2)


def test_the_table_has_one_row_a_sample_with_softmax_confidences() -> None:
    table = predictions_table(FOUR, TARGETS, BASELINE, VARIANT)
    assert table.columns.tolist() == [
        "index",
        "target",
        "baseline",
        "variant",
        "baseline_error",
        "variant_error",
        "baseline_confidence",
        "variant_confidence",
    ]
    assert table["variant"].tolist() == [0, 1, 2, 1, 2]
    assert table["variant_error"].tolist() == [0, 1, 1, 0, 0]
    assert table["baseline_confidence"].iloc[0] == pytest.approx(np.exp(4) / (np.exp(4) + 2), abs=1e-6)


class OfPatients(Classification):
    """Two samples of one patient, three of another."""

    def scores(self, outputs: Tensors, targets: Tensors) -> dict[str, Any]:
        """With whose they are."""
        return super().scores(outputs, targets) | {"cluster": np.array([0, 0, 1, 1, 1])}


def test_the_table_says_which_samples_belong_together() -> None:
    assert predictions_table(OfPatients(FOUR.labels), TARGETS, BASELINE, VARIANT)["cluster"].tolist() == [0, 0, 1, 1, 1]


def test_huge_logits_give_no_overflow() -> None:
    table = predictions_table(FOUR, TARGETS, BASELINE * 1e4, VARIANT)
    assert table["baseline_confidence"].eq(1.0).all()


def test_recall_per_class_leaves_out_classes_without_samples() -> None:
    before, after = FOUR.groups(BEFORE), FOUR.groups(AFTER)
    assert (before["zero"], after["zero"]) == ({"recall": 1.0}, {"recall": 0.5})
    assert (before["one"], after["one"]) == ({"recall": 0.5}, {"recall": 0.5})
    assert "three" not in after


def test_numbers_do_not_flip_but_get_worse() -> None:
    objective, targets = regression(unit="m"), torch.zeros(5)
    before, after = (objective.scores(torch.tensor(given), targets) for given in ([0.0, 1, 2, 3, 0], [0.5, 1, -5, 2, 2]))
    assert flips(before, after) is None
    assert worst(before, after, 2).tolist() == [2, 4]
    assert worst(before, after, 9).tolist() == [2, 4, 0]


def test_answers_of_several_values_are_lists() -> None:
    table = predictions_table(multilabel("abc"), torch.ones(5, 3), BASELINE, VARIANT)
    assert table["target"].iloc[0] == [True, True, True]
    assert table["variant"].iloc[1] == [False, True, False]
    assert "variant_confidence" not in table
    assert "target" not in predictions_table(embedding(), BASELINE, BASELINE, VARIANT)
