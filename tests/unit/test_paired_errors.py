"""Paired errors of samples that belong together."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slimline.params import ScratchParams
from slimline.report.controls import controls
from slimline.verdict.paired_errors import clusters_of, paired_errors

DOCUMENTS, WINDOWS, RUNS = 30, 20, 150


def windows(draw: np.random.Generator) -> np.ndarray:
    """Errors of windows, alike within a document."""
    return draw.normal(size=DOCUMENTS).repeat(WINDOWS) + 0.1 * draw.normal(size=DOCUMENTS * WINDOWS)


def test_windows_of_few_documents_show_no_difference_where_there_is_none() -> None:
    draw, documents = np.random.default_rng(0), np.arange(DOCUMENTS).repeat(WINDOWS)
    found = [paired_errors(windows(draw), windows(draw), 0.95, documents).ci for _ in range(RUNS)]
    assert np.mean([low > 0 or high < 0 for low, high in found]) < 0.1


def test_right_and_wrong_answers_of_clusters_are_shares_with_a_wider_interval() -> None:
    draw = np.random.default_rng(1)
    first, second = ((draw.random(DOCUMENTS) < share).astype(float).repeat(WINDOWS) for share in (0.2, 0.4))
    alone, together = paired_errors(first, second, 0.95), paired_errors(first, second, 0.95, np.arange(DOCUMENTS).repeat(WINDOWS))
    assert together.unit == alone.unit
    assert (together.first, together.second) == pytest.approx((alone.first, alone.second))
    assert together.drop == pytest.approx(alone.drop)
    assert together.ci[1] - together.ci[0] > 3 * (alone.ci[1] - alone.ci[0])
    assert (together.test, together.lost, together.gained) == ("bootstrap", None, None)


def test_clusters_of_one_sample_each_say_what_samples_say() -> None:
    draw = np.random.default_rng(2)
    first, second = draw.normal(size=200), draw.normal(size=200) + 0.3
    alone, each = paired_errors(first, second, 0.95), paired_errors(first, second, 0.95, np.arange(200))
    assert each.ci == pytest.approx(alone.ci, abs=0.03)


def test_errors_that_differ_by_the_same_everywhere_have_an_interval_of_their_documents() -> None:
    found = paired_errors(np.ones(40), np.ones(40), 0.95, np.arange(4).repeat(10))
    assert found.ci[0] <= found.drop == 0 <= found.ci[1]


def test_which_samples_belong_together_is_read_of_scores_and_of_tables() -> None:
    assert clusters_of({"error": np.zeros(2)}) is None
    assert np.array_equal(clusters_of(pd.DataFrame({"cluster": [4, 4]})), [4, 4])


def test_a_control_on_test_is_compared_by_document() -> None:
    draw, documents = np.random.default_rng(3), np.arange(DOCUMENTS).repeat(WINDOWS)
    tables = [pd.DataFrame({"index": np.arange(len(documents)), "variant_error": windows(draw), "cluster": documents}) for _ in range(2)]
    scratch = ScratchParams(source="teacher", method="scratch", control_of="small")
    params: Any = SimpleNamespace(
        distill={"alone": scratch}, deploy=SimpleNamespace(targets=("onnxruntime",)), gate=SimpleNamespace(confidence=0.95)
    )
    (found,) = controls(params, {("small", "onnxruntime"): tables[0], ("alone", "onnxruntime"): tables[1]})
    errors = [table["variant_error"].to_numpy() for table in tables]
    assert found.ci == paired_errors(errors[0], errors[1], 0.95, documents).ci
