"""What a control has as much of as its student: the steps that are really taken, counted at the optimizer."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from slimline.calibration.contract_nets import seeded, small_data, trained
from slimline.methods import get_method
from slimline.methods.distill.alone import of_steps, steps_of, student_steps, without_teacher
from slimline.methods.distill.cost import step_macs, steps_of_equal_compute
from slimline.methods.macs import macs
from slimline.params import config_class
from slimline.report.controls import Control
from slimline.report.teacher_worth import worth_sentences
from tasks.distill import with_equal_budget

DATA = small_data("pictures", trains=True)
SAMPLES = len(DATA.train)
ALONE: dict[str, Any] = {"alpha": 0, "synthetic": {"kind": "mixup", "samples": 480, "alone": True}}


def config_of(method: str, **more: Any) -> Any:
    return config_class("distill", method).model_validate({"source": "teacher", "method": method, "epochs": 4, "batch_size": 16, **more})


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each step of any optimizer."""
    found: list[int] = []
    step = torch.optim.AdamW.step

    def counted(self: torch.optim.AdamW, *given: Any, **more: Any) -> Any:
        found.append(1)
        return step(self, *given, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    return found


@pytest.mark.parametrize(
    ("method", "more", "steps"),
    [
        ("soft_targets", {}, 24),
        ("soft_targets", ALONE, 120),
        ("soft_targets", {"alpha": 0, "synthetic": {"kind": "mixup", "samples": 16, "alone": True}}, 4),
        ("hints", {"hint_epochs": 8}, 72),
        ("hints", {"hint_epochs": 2, "steps": 8}, 12),
        ("self", {"generations": 3}, 72),
    ],
)
def test_a_control_of_equal_steps_takes_as_many_as_its_student(taken: list[int], method: str, more: dict[str, Any], steps: int) -> None:
    config, teacher = config_of(method, **more), trained("pictures")
    taken.clear()
    get_method("distill", method)(seeded("pictures", 8), teacher, config, data=DATA)
    assert len(taken) == student_steps(config, SAMPLES) == steps
    taken.clear()
    without_teacher(seeded("pictures", 8), config, DATA, student_steps(config, SAMPLES))
    assert len(taken) == steps


def test_a_control_takes_all_the_steps_that_the_page_names_whatever_its_patience(taken: list[int]) -> None:
    config = config_of("soft_targets", epochs=40, patience=1, learning_rate=0.05)
    for asked, told in ((student_steps(config, SAMPLES), 240), (271, 280)):
        taken.clear()
        without_teacher(seeded("pictures", 8), config, DATA, asked)
        assert len(taken) == of_steps(config, asked).steps == told


@pytest.mark.parametrize(("method", "more", "steps"), [("self", {"generations": 3}, 72), ("soft_targets", ALONE, 120), ("dkd", {}, 24)])
def test_a_control_of_its_own_entry_has_the_steps_of_its_student(method: str, more: dict[str, Any], steps: int) -> None:
    scratch = config_of("scratch", control_of="x")
    stage: Any = SimpleNamespace(config=scratch, params=SimpleNamespace(distill={"x": config_of(method, **more)}))
    found, told = with_equal_budget(stage, seeded("pictures", 8), trained("pictures"), DATA)
    assert steps_of(found, SAMPLES) == steps
    assert bool(told) == (steps != steps_of(scratch, SAMPLES))


def test_equal_compute_counts_what_the_student_is_trained_on_and_the_epochs_before() -> None:
    student, teacher, some = seeded("pictures", 8), trained("pictures"), DATA.train.take(slice(0, 2))

    def equal(method: str, **more: Any) -> int:
        return steps_of_equal_compute(student, teacher, config_of(method, **more), some, DATA.objective, SAMPLES, anew=False)

    asked = macs(teacher, some.inputs) / (16 * step_macs(student, some, DATA.objective))
    assert equal("soft_targets", **ALONE) == pytest.approx(120 + 480 * asked, abs=1)
    assert equal("hints", hint_epochs=4) == pytest.approx(48 + (96 + 48 * 16) * asked, abs=1)


def test_the_budget_of_texts_holds_the_real_ones_among_them() -> None:
    half = cast("Any", config_of("sequence", texts=64, real=0.5))
    assert half.trained_samples(SAMPLES) == 128
    assert half.trained_samples(10) == 74
    assert student_steps(half, SAMPLES) == 4 * 128 // 16


def test_a_page_says_that_its_student_stopped() -> None:
    one = Control("s", "labels alone", "validation", 0.9, 0.8, 0.1, (0.05, 0.15), 0.01, "fraction")
    assert len(worth_sentences([one], 4, 4)) == 1
    assert worth_sentences([one], 3, 4)[1].startswith("The student had enough after 3 of 4 epochs")


def test_the_first_generation_of_self_has_labels() -> None:
    with pytest.raises(ValueError, match="the first generation has the labels"):
        config_of("self", **ALONE)
