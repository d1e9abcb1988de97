"""What a distilled student's teacher was worth: the controls that its entry asks for, trained and compared on validation."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from slimline.data.samples import head
from slimline.methods import get_method
from slimline.methods.distill.alone import of_steps, share_of, student_steps, with_all_steps, without_teacher
from slimline.methods.distill.cost import steps_of_equal_compute
from slimline.methods.edited import Edited
from slimline.params.student import ControlledTraining
from slimline.report.controls import Control, compared
from slimline.report.page import Figure, Table
from slimline.report.teacher_worth import (
    NO_LABELS,
    Share,
    plain_facts,
    share_facts,
    share_figures,
    share_sentences,
    share_tables,
    worth_sentences,
    worth_tables,
)
from slimline.stage import Stage
from slimline.training.data import TrainingData
from slimline.training.fit import scored
from slimline.verdict.paired_errors import clusters_of, paired_errors

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Worth:
    """What the page and the metrics say of it; empty where nothing was asked for."""

    summary: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    details: dict[str, Any] | None = None


def teacher_worth(stage: Stage, student: nn.Module, teacher: nn.Module, made: Edited, data: TrainingData) -> Worth:
    """Train what the entry asks for beside `made`, the student as it was taught; `student` is how all of them begin."""
    config = stage.config
    if not isinstance(config, ControlledTraining) or config.epochs == 0:
        return Worth()
    if not data.objective.needs_targets:
        return Worth((NO_LABELS,) if config.controls or config.label_shares else ())
    quiet = replace(data, on_epoch=None)
    found, steps = _controls(stage, student, teacher, made.model, quiet)
    shares = tuple(_shares(stage, student, teacher, quiet))
    details = {"teacher_worth": plain_facts(found, steps), **({"label_shares": share_facts(shares)} if shares else {})}
    return Worth(
        (*worth_sentences(found, len(made.history.epochs), config.epochs), *share_sentences(shares)),
        (*worth_tables(found, steps), *share_tables(shares)),
        share_figures(shares),
        details if found or shares else None,
    )


def _controls(stage: Stage, student: nn.Module, teacher: nn.Module, made: nn.Module, data: TrainingData) -> tuple[list[Control], list[int]]:
    config, samples = stage.config, len(data.train)
    counted: dict[str, Callable[[], int]] = {
        "steps": lambda: student_steps(config, samples),
        "compute": lambda: steps_of_equal_compute(
            student, teacher, config, head(data.train, 2), data.objective, samples, anew=data.augment is not None
        ),
    }
    steps = [of_steps(config, counted[equal]()).steps for equal in config.controls]
    found = []
    for equal, taken in zip(config.controls, steps, strict=True):
        log.info("%s: the same student on labels alone, at equal %s: %d steps", stage.variant, equal, taken)
        control = without_teacher(student, config, data, taken)
        found.append(replace(_compared(stage, made, control, data), equal=equal))
    return found, steps


def _shares(stage: Stage, student: nn.Module, teacher: nn.Module, data: TrainingData) -> Iterator[Share]:
    """Student and control at each share of the samples, both with the steps that they have over all of them."""
    config = with_all_steps(stage.config, len(data.train))
    for share in stage.config.label_shares:
        part = share_of(data, share)
        log.info("%s: with and without the teacher on %d of %d samples", stage.variant, len(part.train), len(data.train))
        made = get_method("distill", config.method)(student, teacher, config, data=part).model
        control = without_teacher(student, config, part, student_steps(stage.config, len(data.train)))
        yield Share(share, len(part.train), _compared(stage, made, control, data))


def _compared(stage: Stage, made: nn.Module, control: nn.Module, data: TrainingData) -> Control:
    """On validation, by what the objective says belongs together."""
    scores = [scored(model, data.validation, data.objective) for model in (made, control)]
    own, alone = (found["error"].astype(float) for found in scores)
    pair = paired_errors(own, alone, stage.params.gate.confidence, clusters_of(scores[0]))
    return compared(stage.variant, "labels alone", "validation", pair)
