"""The control of distillation: the same student with the same budget, trained on the labels alone."""

from torch import nn

from slimline.methods.edited import Edited
from slimline.params import ScratchParams
from slimline.training.data import TrainingData


def scratch(student: nn.Module, _teacher: nn.Module, config: ScratchParams, *, data: TrainingData) -> Edited:
    """Return the trained student and its history. The teacher is not used: that is the point of a control."""
    return Edited(*data.fitted(student, config))
