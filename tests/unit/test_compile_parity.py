"""A compiled model that computes something else is caught, and the worst sample is named."""

import numpy as np
import pytest

from slimline.errors import StageError
from slimline.methods.compile.parity import compare_outputs, require_parity
from slimline.objectives.classification import classification

SIX = classification("abcdef")
REFERENCE = np.random.default_rng(0).normal(0, 4, (50, 6)).astype(np.float32)


def judge(outputs: np.ndarray, *, exact: bool) -> None:
    require_parity("v-onnxruntime", compare_outputs(REFERENCE, outputs, objective=SIX, exact=exact), REFERENCE, outputs)


def test_equal_outputs_pass() -> None:
    parity = compare_outputs(REFERENCE, REFERENCE.copy(), objective=SIX, exact=True)
    assert (parity.max_abs_difference, parity.agreement, parity.samples) == (0, 1, 50)
    judge(REFERENCE.copy(), exact=True)
    judge(REFERENCE + np.float32(0.01), exact=False)


def test_a_float_model_may_differ_by_a_thousandth_only() -> None:
    outputs = REFERENCE.copy()
    outputs[17, 2] += 0.5
    told = r"compile\.v-onnxruntime: .*largest difference 0\.5 is above .*worst is row 17 of validation"
    with pytest.raises(StageError, match=told) as caught:
        judge(outputs, exact=True)
    assert f"{outputs[17, 2]:.4f}".rstrip("0") in str(caught.value)


def test_an_int8_model_must_agree_and_be_near() -> None:
    judge(REFERENCE + np.random.default_rng(1).normal(0, 0.02, REFERENCE.shape).astype(np.float32), exact=False)
    with pytest.raises(StageError, match=r"signal to noise .* dB is below 20 dB"):
        judge(REFERENCE + np.random.default_rng(1).normal(0, 2, REFERENCE.shape).astype(np.float32), exact=False)
    with pytest.raises(StageError, match="of 50 samples get the same answer, at least 97% must"):
        judge(-REFERENCE, exact=False)


def test_a_plan_that_is_far_from_its_source_may_be_compiled_no_further_from_its_simulation() -> None:
    noise = np.random.default_rng(1).normal(0, 2, (2, *REFERENCE.shape)).astype(np.float32)
    source = REFERENCE + noise[0]
    near, far = REFERENCE + 0.6 * noise[1], REFERENCE + 4 * noise[1]
    parity = compare_outputs(REFERENCE, near, objective=SIX, exact=False, source=source)
    assert parity.min_sqnr_db is not None
    assert 5 < parity.min_sqnr_db < 10
    assert parity.min_agreement < 0.97
    require_parity("v-onnxruntime", parity, REFERENCE, near)
    with pytest.raises(StageError, match=r"signal to noise .* dB is below"):
        require_parity("v-onnxruntime", compare_outputs(REFERENCE, far, objective=SIX, exact=False, source=source), REFERENCE, far)
    close = compare_outputs(REFERENCE, near, objective=SIX, exact=False, source=REFERENCE)
    assert (close.min_sqnr_db, close.min_agreement) == (20, 0.97)


def test_a_runtime_that_rounds_as_much_as_the_plan_but_otherwise_is_held_to_the_source() -> None:
    noise = np.random.default_rng(1).normal(0, 1, (2, *REFERENCE.shape)).astype(np.float32)
    plan, otherwise = REFERENCE + noise[0], REFERENCE + 0.8 * noise[1]
    parity = compare_outputs(plan, otherwise, objective=SIX, exact=False, source=REFERENCE)
    assert parity.reference == "source"
    assert parity.min_sqnr_db is not None
    assert parity.sqnr_db is not None
    assert parity.min_sqnr_db < parity.sqnr_db < 20
    require_parity("v-onnxruntime", parity, plan, otherwise)
    further = REFERENCE + 1.5 * noise[1]
    with pytest.raises(StageError, match="outputs differ from the simulation: "):
        require_parity("v-onnxruntime", compare_outputs(plan, further, objective=SIX, exact=False, source=REFERENCE), plan, further)


def test_a_tie_counts_as_agreement() -> None:
    tied = np.array([[1.0, 1.0, -5.0]], np.float32)
    parity = compare_outputs(tied, np.array([[0.99999, 1.0, -5.0]], np.float32), objective=SIX, exact=True)
    assert parity.agreement == 1


def test_logits_that_are_not_finite_are_caught() -> None:
    outputs = REFERENCE.copy()
    outputs[3, 3] = np.nan
    with pytest.raises(StageError, match=r"not finite.*row 3 of validation"):
        judge(outputs, exact=True)
