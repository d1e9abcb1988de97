"""Train a student on what the teacher gives and on the labels.

Hinton et al. 2015, "Distilling the knowledge in a neural network" (arXiv 1503.02531):
loss = alpha * loss(student, labels) + (1 - alpha) * guidance(student, teacher), the objective's own two; for classes the guidance is
T² * KL(softmax(teacher / T) || softmax(student / T)), for the next token of a text the same over the teacher's likeliest tokens.
"""

from torch import nn

from slimline.methods.distill.guided import trained_by
from slimline.methods.edited import Edited
from slimline.params import SoftTargetsParams
from slimline.training.data import TrainingData


def soft_targets(student: nn.Module, teacher: nn.Module, config: SoftTargetsParams, *, data: TrainingData) -> Edited:
    """Return the trained student and its history; student and teacher themselves are left as they are.

    The teacher sees the same augmented batch as the student, in evaluation mode and without gradients; where nothing augments, it sees
    each sample once, before the first epoch.
    """
    return trained_by(student, teacher, config, data)
