"""Train a student on what the teacher gives and on the labels.

Hinton et al. 2015, "Distilling the knowledge in a neural network" (arXiv 1503.02531):
loss = alpha * loss(student, labels) + (1 - alpha) * guidance(student, teacher), the objective's own two; for classes the guidance is
T² * KL(softmax(teacher / T) || softmax(student / T)).
"""

from torch import Tensor, nn

from slimline.data.batch import Tensors
from slimline.data.samples import Samples
from slimline.params import SoftTargetsParams
from slimline.training.data import TrainingData
from slimline.training.fit import FitHistory
from slimline.training.taught import taught


def soft_targets(student: nn.Module, teacher: nn.Module, config: SoftTargetsParams, *, data: TrainingData) -> tuple[nn.Module, FitHistory]:
    """Return the trained student and its history; student and teacher themselves are left as they are.

    The teacher sees the same augmented batch as the student, in evaluation mode and without gradients; where nothing augments, it sees
    each sample once, before the first epoch.
    """
    objective = data.objective
    with taught(data, teacher, config) as (given, ask):

        def mixed(outputs: Tensors, batch: Samples) -> Tensor:
            soft = objective.guidance(outputs, ask(batch), config.temperature)
            return config.alpha * objective.loss(outputs, batch.targets) + (1 - config.alpha) * soft

        return given.fitted(student, config, loss=mixed)
