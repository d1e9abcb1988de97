"""What may be said of a teacher's worth: nothing where labels are its own answers."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from slimline.calibration.contract_nets import seeded, small_data, trained
from slimline.data.samples import Samples
from slimline.errors import Impossible
from slimline.methods import get_method
from slimline.methods.distill.refused import require_possible
from slimline.methods.edited import Edited
from slimline.objectives.embedding import embedding
from slimline.params import config_class
from slimline.report.teacher_worth import NO_LABELS
from slimline.training.data import TrainingData
from slimline.training.fit import predict
from tasks.teacher_worth import Worth, teacher_worth


def config_of(method: str, **more: Any) -> Any:
    return config_class("distill", method).model_validate({"source": "teacher", "method": method, "epochs": 2, "batch_size": 16, **more})


def vectors() -> tuple[Any, TrainingData]:
    """A teacher, and data whose targets are its answers."""
    teacher, data = trained("rows"), small_data("rows", trains=True)
    train, validation = (Samples(part.inputs, predict(teacher, part.inputs)) for part in (data.train, data.validation))
    return teacher, replace(data, train=train, validation=validation, objective=embedding(), metric="cosine")


@pytest.mark.parametrize(
    ("asked", "said"), [({}, (NO_LABELS,)), ({"controls": []}, ()), ({"controls": [], "label_shares": [0.5]}, (NO_LABELS,))]
)
def test_no_control_is_trained_on_labels_that_are_the_teachers_own_answers(asked: dict[str, Any], said: tuple[str, ...]) -> None:
    teacher, data = vectors()
    stage: Any = SimpleNamespace(config=config_of("soft_targets", **asked), variant="small")
    assert teacher_worth(stage, seeded("rows", 8), teacher, Edited(seeded("rows", 8)), data) == Worth(said)


def test_a_control_of_its_own_entry_is_refused_there() -> None:
    teacher, data = vectors()
    scratch, student = config_of("scratch", control_of="small"), seeded("rows", 8)
    with pytest.raises(Impossible, match="the targets of the objective embedding are the teacher's answers; leave this entry out"):
        require_possible(scratch, student, teacher, data)
    with pytest.raises(Impossible, match="scratch learns from labels"):
        get_method("distill", "scratch")(student, teacher, scratch, data=data)
