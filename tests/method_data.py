"""What a stage hands to a method, for tests of methods alone."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from slimline.calibration.statistics import collect_statistics
from slimline.methods.data import MethodData
from slimline.methods.fit import Samples


def method_data(inputs: Tensor, targets: Tensor | None = None, **more: Any) -> MethodData:
    """Everything read from `inputs` [N, …] and class indices [N] (zeros where none are given)."""
    samples = Samples(inputs, torch.zeros(len(inputs), dtype=torch.long) if targets is None else targets)
    settings: dict[str, Any] = {
        "calibration": inputs,
        "train": samples,
        "validation": samples,
        "loss": lambda outputs, targets, _inputs: functional.cross_entropy(outputs, targets),
        "metric": accuracy,
        "collect": lambda model: collect_statistics(model, inputs, 32),
        "example_input": torch.zeros_like(inputs[:2]),
    }
    return MethodData(**settings | more)


def accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    """The share of samples whose largest output is that of their class."""
    return float((outputs.argmax(axis=1) == targets).mean())
