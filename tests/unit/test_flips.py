"""Flips both ways, confidences and recall per class from logits."""

import numpy as np
import pandas as pd
import pytest

from slimline.measure.flips import Flips, count_flips, flipped_samples, predictions_table, recall_per_class

TARGETS = np.array([0, 0, 1, 1, 2])
BASELINE = np.eye(3, dtype=np.float32)[[0, 0, 1, 0, 2]] * 4
VARIANT = np.eye(3, dtype=np.float32)[[0, 1, 2, 1, 2]] * 2


def test_lost_and_gained() -> None:
    table = predictions_table(TARGETS, BASELINE, VARIANT)
    assert count_flips(table) == Flips(lost=2, gained=1)
    assert count_flips(predictions_table(TARGETS, VARIANT, BASELINE)) == Flips(lost=1, gained=2)


def test_flipped_samples_are_the_lost_and_the_gained_under_their_number() -> None:
    samples = pd.DataFrame({"pixel": [10.0, 11.0, 12.0, 13.0, 14.0]}, index=[5, 6, 7, 8, 9])
    flipped = flipped_samples(predictions_table(TARGETS, BASELINE, VARIANT), samples)
    assert flipped["pixel"].to_dict() == {1: 11.0, 2: 12.0, 3: 13.0}


def test_the_table_has_one_row_a_sample_with_softmax_confidences() -> None:
    table = predictions_table(TARGETS, BASELINE, VARIANT)
    assert table.columns.tolist() == ["index", "label", "baseline", "variant", "baseline_confidence", "variant_confidence"]
    assert table["variant"].tolist() == [0, 1, 2, 1, 2]
    assert table["baseline_confidence"].iloc[0] == pytest.approx(np.exp(4) / (np.exp(4) + 2), abs=1e-6)


def test_huge_logits_give_no_overflow() -> None:
    table = predictions_table(TARGETS, BASELINE * 1e4, VARIANT)
    assert table["baseline_confidence"].eq(1.0).all()


def test_recall_per_class_leaves_out_classes_without_samples() -> None:
    found = recall_per_class(predictions_table(TARGETS, BASELINE, VARIANT), ("zero", "one", "two", "three"))
    assert found["zero"] == {"recall": 0.5, "baseline_recall": 1.0}
    assert found["one"] == {"recall": 0.5, "baseline_recall": 0.5}
    assert "three" not in found
