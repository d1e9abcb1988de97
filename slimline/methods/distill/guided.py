"""The loss of a student that has labels and a teacher's answers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from slimline.data.batch import Tensors
from slimline.data.samples import Samples
from slimline.methods.distill.synthetic import beside, in_place
from slimline.methods.distill.top_answers import answers_for_any, softened, top_answers, top_divergence
from slimline.methods.edited import Edited
from slimline.objectives import Objective
from slimline.objectives.causal_lm import CausalLM
from slimline.params.student import GuidedTraining
from slimline.training.data import TrainingData
from slimline.training.fit import Loss, Penalty
from slimline.training.history import FitHistory
from slimline.training.taught import FRESH, Ask, Reading, as_given, taught

Compare = Callable[[Tensors, Tensors, Samples], Tensor]
"""(the student's outputs, what is kept of the teacher's, the batch) -> scalar."""


@dataclass(frozen=True)
class Guidance:
    """The data with the teacher's answers where they are kept, and the loss: alpha of the labels', the rest the distance to the teacher.

    `penalty` is that of samples that are made up beside them.
    """

    data: TrainingData
    loss: Loss
    penalty: Penalty | None = None

    def fitted(self, student: nn.Module, config: GuidedTraining, **more: Any) -> tuple[nn.Module, FitHistory]:
        """The student trained so; `more` are the settings of `fit`, a penalty of whose own comes on top."""
        own, loss = more.pop("penalty", None), more.pop("loss", self.loss)
        return self.data.fitted(student, config, loss=loss, penalty=_sum(own, self.penalty), **more)


@contextmanager
def guided(data: TrainingData, teacher: nn.Module, config: GuidedTraining, compare: Compare | None = None) -> Iterator[Guidance]:
    """What a student is trained by; `compare` stands in for the objective's own distance to the teacher's outputs.

    Raises:
        StageError: no such samples can be made up as `config.synthetic` asks for.
    """
    if config.epochs == 0:
        yield Guidance(data, lambda outputs, batch: data.objective.loss(outputs, batch.targets))
        return
    given = in_place(data, teacher, config)
    reading, usual = _compared(data, config)
    with taught(given, teacher, config, reading) as (known, ask):
        loss = partial(_mixed, data=data, config=config, ask=ask, compare=compare or usual)
        yield Guidance(known, loss, beside(data, teacher, config))


def trained_by(
    student: nn.Module, teacher: nn.Module, config: GuidedTraining, data: TrainingData, compare: Compare | None = None
) -> Edited:
    """The trained student and its history; student and teacher themselves are left as they are."""
    with guided(data, teacher, config, compare) as guidance:
        return Edited(*guidance.fitted(student, config))


def _mixed(outputs: Tensors, batch: Samples, *, data: TrainingData, config: GuidedTraining, ask: Ask, compare: Compare) -> Tensor:
    taught_by = compare(outputs, ask(batch), batch)
    if config.synthetic and config.synthetic.alone:
        return taught_by
    return config.alpha * data.objective.loss(outputs, batch.targets) + (1 - config.alpha) * taught_by


def _sum(first: Penalty | None, second: Penalty | None) -> Penalty | None:
    if first is None or second is None:
        return first or second
    return lambda model: first(model) + second(model)


def kept_of(objective: Objective) -> Callable[[Tensors], Tensors]:
    """What is kept of an answer before any student is known: all of it, of a language model's the likeliest tokens."""
    return answers_for_any if isinstance(objective, CausalLM) else as_given


def _compared(data: TrainingData, config: GuidedTraining) -> tuple[Reading, Compare]:
    """What is kept of an answer, and how a student's is compared with it."""
    is_language = isinstance(data.objective, CausalLM)
    if is_language and config.top_k:
        temperature, top_k = config.temperature, config.top_k
        reading = Reading(
            partial(top_answers, temperature=temperature, top_k=top_k), partial(softened, temperature=temperature, top_k=top_k)
        )
        return reading, lambda outputs, kept, batch: top_divergence(outputs, kept, batch.targets, config.temperature)
    reading = FRESH if is_language else Reading(as_given, as_given)
    return reading, lambda outputs, answers, _batch: data.objective.guidance(outputs, answers, config.temperature)
