"""Compute: parameters, non-zeros and multiply-accumulates of a float model."""

from dataclasses import dataclass

import torch
from torch import nn

from slimline.data.batch import Batch
from slimline.methods.macs import macs


@dataclass(frozen=True)
class Compute:
    """What a model holds and does: `macs` are multiply-accumulates for one sample, without biases and element-wise work."""

    parameters: int
    nonzero: int
    macs: int


def count(model: nn.Module, example: Batch) -> Compute:
    """Count a model on the first sample of `example`; zeros are counted as work, as dense kernels do."""
    parameters = list(model.parameters())
    return Compute(
        parameters=sum(parameter.numel() for parameter in parameters),
        nonzero=sum(int(torch.count_nonzero(parameter)) for parameter in parameters),
        macs=macs(model, example),
    )
