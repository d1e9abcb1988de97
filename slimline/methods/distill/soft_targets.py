"""Train a student on what the teacher gives and on the labels.

Hinton et al. 2015, "Distilling the knowledge in a neural network" (arXiv 1503.02531):
loss = alpha * loss(student, labels) + (1 - alpha) * guidance(student, teacher), the objective's own two; for classes the guidance is
T² * KL(softmax(teacher / T) || softmax(student / T)).
"""

import copy

import torch
from torch import Tensor, nn

from slimline.data.batch import Batch, Tensors
from slimline.params import SoftTargetsParams
from slimline.training.data import TrainingData
from slimline.training.fit import FitHistory


def soft_targets(student: nn.Module, teacher: nn.Module, config: SoftTargetsParams, *, data: TrainingData) -> tuple[nn.Module, FitHistory]:
    """Return the trained student and its history; student and teacher themselves are left as they are.

    The teacher sees the same augmented batch as the student, in evaluation mode and without gradients.
    """
    frozen = copy.deepcopy(teacher).eval().requires_grad_(False)
    objective = data.objective

    def mixed(outputs: Tensors, targets: Tensors, inputs: Batch) -> Tensor:
        with torch.no_grad():
            guidance = frozen(**inputs)
        soft = objective.guidance(outputs, guidance, config.temperature)
        return config.alpha * objective.loss(outputs, targets) + (1 - config.alpha) * soft

    return data.fitted(student, config, loss=mixed)
