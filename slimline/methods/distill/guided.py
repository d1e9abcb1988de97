"""The loss of a student that has labels and a teacher's answers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from slimline.data.batch import Tensors
from slimline.data.samples import Samples
from slimline.methods.distill.top_answers import top_answers, top_divergence
from slimline.objectives.causal_lm import CausalLM
from slimline.params.distill import GuidedTraining
from slimline.training.data import TrainingData
from slimline.training.fit import Loss
from slimline.training.taught import Ask, taught

Compare = Callable[[Tensors, Tensors, Samples], Tensor]
"""(the student's outputs, what is kept of the teacher's, the batch) -> scalar."""


@contextmanager
def guided(data: TrainingData, teacher: nn.Module, config: GuidedTraining) -> Iterator[tuple[TrainingData, Loss]]:
    """The data with the teacher's answers where they are kept, and the loss: alpha of the labels', the rest the distance to the teacher."""
    kept, compare = _compared(data, config)
    with taught(data, teacher, config, **kept) as (given, ask):
        yield given, partial(_mixed, data=data, config=config, ask=ask, compare=compare)


def _mixed(outputs: Tensors, batch: Samples, *, data: TrainingData, config: GuidedTraining, ask: Ask, compare: Compare) -> Tensor:
    labels = data.objective.loss(outputs, batch.targets)
    return config.alpha * labels + (1 - config.alpha) * compare(outputs, ask(batch), batch)


def _compared(data: TrainingData, config: GuidedTraining) -> tuple[dict[str, Callable[[Tensors], Tensors]], Compare]:
    """What is kept of an answer, and how a student's is compared with it."""
    if isinstance(data.objective, CausalLM) and config.top_k:
        read = partial(top_answers, temperature=config.temperature, top_k=config.top_k)
        return {"read": read}, lambda outputs, kept, batch: top_divergence(outputs, kept, batch.targets, config.temperature)
    return {}, lambda outputs, answers, _batch: data.objective.guidance(outputs, answers, config.temperature)
