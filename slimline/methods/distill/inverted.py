"""Samples from nothing: optimised until a teacher's batch norms see what they saw in its training, and it answers a class that was drawn.

Yin et al. 2020, "Dreaming to distill: data-free knowledge transfer via DeepInversion" (arXiv 1912.08795), equations 2 to 4.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slimline.data.batch import Batch, joined
from slimline.objectives import Objective
from slimline.objectives.classification import Classification
from slimline.params.student import Synthetic

TOGETHER = 64
"""Samples that are optimised at a time: statistics are those of all of them."""
LEARNING_RATE = 0.1


def inverted(teacher: nn.Module, example: Batch, config: Synthetic, objective: Objective, draw: torch.Generator) -> Batch:
    """Inputs of `config.samples` samples shaped as `example`, of which nothing else is read; the teacher stays as it is."""
    frozen = copy.deepcopy(teacher).eval().requires_grad_(False)
    kept: list[tuple[_BatchNorm, Tensor]] = []
    for layer in _norms(frozen):
        layer.register_forward_pre_hook(_noting(kept))
    sizes = [min(TOGETHER, config.samples - start) for start in range(0, config.samples, TOGETHER)]
    return joined([_optimised(frozen, example, size, config, objective, kept, draw) for size in sizes])


def _optimised(
    teacher: nn.Module,
    example: Batch,
    size: int,
    config: Synthetic,
    objective: Objective,
    kept: list[tuple[_BatchNorm, Tensor]],
    draw: torch.Generator,
) -> Batch:
    inputs = {name: torch.randn(size, *value.shape[1:], generator=draw).requires_grad_() for name, value in example.items()}
    asked = torch.randint(len(objective.labels), (size,), generator=draw) if isinstance(objective, Classification) else None
    optimizer = torch.optim.Adam(inputs.values(), lr=LEARNING_RATE)
    for _ in range(config.iterations):
        kept.clear()
        outputs = teacher(**inputs)
        loss = torch.stack([_away(layer, given) for layer, given in kept]).sum()
        if asked is not None:
            loss = loss + objective.loss(outputs, asked)
        if config.smoothness:
            loss = loss + config.smoothness * sum((_roughness(value) for value in inputs.values()), torch.zeros(()))
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
    return {name: value.detach() for name, value in inputs.items()}


def _norms(model: nn.Module) -> Iterator[_BatchNorm]:
    return (layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats)


def _noting(kept: list[tuple[_BatchNorm, Tensor]]) -> Any:
    def hook(layer: _BatchNorm, given: tuple[Tensor, ...]) -> None:
        kept.append((layer, given[0]))

    return hook


def _away(layer: _BatchNorm, given: Tensor) -> Tensor:
    """How far the mean and variance of what a batch norm is given [N, channels, …] are from those that it learned."""
    rows = given.transpose(0, 1).flatten(1)
    mean, variance = rows.mean(1), rows.var(1, unbiased=False)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    found: Tensor = (mean - layer.running_mean).norm() + (variance - layer.running_var).norm()
    return found


def _roughness(value: Tensor) -> Tensor:
    """The total variation of pictures [N, channels, height, width], a sample; 0 of anything else."""
    if value.dim() != 4:
        return value.new_zeros(())
    return (value.diff(dim=2).square().sum() + value.diff(dim=3).square().sum()) / len(value)
