"""Answers of a teacher that stand before a training begins."""

from dataclasses import dataclass

from torch import nn

from slimline.data.batch import Tensors
from slimline.data.samples import Split


@dataclass(frozen=True)
class Known:
    """What a teacher gave for every sample of a split, in its order, as the stage `teach` keeps it."""

    teacher: nn.Module
    split: Split
    answers: Tensors
