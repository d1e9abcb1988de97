"""What a stage hands to a method, for tests of methods alone."""

from typing import Any

import torch
from torch import Tensor, nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import Batch, count, take
from slimline.data.calling import named
from slimline.data.samples import Samples
from slimline.methods.data import MethodData
from slimline.objectives.classification import classification

TEN = classification("0123456789")
"""The objective that tests of methods judge by, where nothing else is said."""


def method_data(model: nn.Module, inputs: Tensor | Batch, targets: Tensor | None = None, **more: Any) -> MethodData:
    """Everything read from `inputs` [N, …], for `model` to be called with, and class indices [N] (zeros where none are given)."""
    batch = named(model, inputs)
    samples = Samples(batch, torch.zeros(count(batch), dtype=torch.long) if targets is None else targets)
    settings: dict[str, Any] = {
        "calibration": batch,
        "example": take(batch, slice(0, 2)),
        "train": samples,
        "validation": samples,
        "objective": TEN,
        "metric": "accuracy",
        "collect": lambda model: collect_statistics(model, batch, 32),
    }
    return MethodData(**settings | more)
