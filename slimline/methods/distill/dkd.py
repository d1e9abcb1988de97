"""Train a student on two parts of the teacher's answer apart: how sure it is of the right class, and how it ranks the others.

Zhao et al. 2022, "Decoupled knowledge distillation" (arXiv 2203.08679): KL = TCKD + (1 - p_right) * NCKD, in which the better a teacher
knows a sample, the less its ranking of the others counts; here each has a weight of its own.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.batch import Tensors
from slimline.data.samples import Samples
from slimline.errors import Impossible
from slimline.methods.distill.guided import trained_by
from slimline.methods.edited import Edited
from slimline.objectives import Objective
from slimline.objectives.classification import Classification
from slimline.objectives.single import single
from slimline.params import DkdParams
from slimline.training.data import TrainingData


def dkd(student: nn.Module, teacher: nn.Module, config: DkdParams, *, data: TrainingData) -> Edited:
    """Return the trained student and its history; student and teacher themselves are left as they are.

    Raises:
        StageError: the objective is not one of three classes or more.
    """
    objective = require_classes(data.objective)

    def apart(outputs: Tensors, answers: Tensors, batch: Samples) -> Tensor:
        right = single(batch.targets).long()
        target, others = decoupled(objective.logits(outputs), objective.logits(answers), right, config.temperature)
        return config.target_weight * target + config.other_weight * others

    return trained_by(student, teacher, config, data, apart)


def decoupled(student: Tensor, teacher: Tensor, right: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits [N, classes] twice and the right classes [N] -> T² times the divergence of right against wrong, and that among the wrong."""
    rows = torch.arange(len(right), device=right.device)
    own, theirs = ((logits / temperature).log_softmax(1) for logits in (student, teacher))
    known = torch.ones_like(own, dtype=torch.bool).index_put((rows, right), torch.tensor(False, device=own.device))

    def binary(found: Tensor) -> Tensor:
        wrong = found.masked_fill(~known, -torch.inf).logsumexp(1)
        return torch.stack([found[rows, right], wrong], dim=1)

    def among(logits: Tensor) -> Tensor:
        return (logits / temperature)[known].view(len(right), -1).log_softmax(1)

    target = functional.kl_div(binary(own), binary(theirs), reduction="batchmean", log_target=True)
    others = functional.kl_div(among(student), among(teacher), reduction="batchmean", log_target=True)
    return temperature**2 * target, temperature**2 * others


def require_classes(objective: Objective) -> Classification:
    """Hold a workload to being about one of three classes or more.

    Raises:
        StageError: it is not.
    """
    if not isinstance(objective, Classification):
        raise Impossible(f"distill: dkd tells classes apart, and this workload's objective is {objective.name}; take soft_targets")
    if len(objective.labels) < 3:
        raise Impossible("distill: dkd ranks the wrong classes, and of two there is one; take soft_targets")
    return objective
