"""Compute: parameters, non-zeros and multiply-accumulates of a float model."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Compute:
    """What a model holds and does: `macs` are multiply-accumulates for one sample, without biases and element-wise work."""

    parameters: int
    nonzero: int
    macs: int


def count(model: nn.Module, example_input: Tensor) -> Compute:
    """Count a model on the first sample of `example_input` [N, …]; zeros are counted as work, as dense kernels do.

    The count is torch.utils.flop_counter's (matrix products, convolutions, attention), halved.
    """
    parameters = list(model.parameters())
    return Compute(
        parameters=sum(parameter.numel() for parameter in parameters),
        nonzero=sum(int(torch.count_nonzero(parameter)) for parameter in parameters),
        macs=_macs(model, example_input[:1]),
    )


def _macs(model: nn.Module, sample: Tensor) -> int:
    evaluated = copy.deepcopy(model).eval() if model.training else model
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        evaluated(sample)
    return int(counter.get_total_flops()) // 2
