"""Gradients of the loss by the weights, for criteria that ask how much the loss would change without a weight."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from slimline.data.samples import Samples, Split, in_order
from slimline.methods.data import MethodData

BATCH_SIZE = 32


def batch_gradients(
    model: nn.Module, data: MethodData, samples: Split, batch_size: int = BATCH_SIZE
) -> Iterator[tuple[dict[str, Tensor], float]]:
    """For each batch, in order: parameter name -> ∂L/∂w with L the loss of that batch, and the batch's share of all samples.

    Batch by batch, for the mean over all samples is near zero where a model was trained to its optimum.
    The model runs in evaluation mode (batch norms and dropout stand still) in a copy, so that the argument is untouched. A weight
    that the model has under several names is given under each; one that the loss does not reach has zeros.
    """
    twin = copy.deepcopy(model).eval().requires_grad_(True)
    parameters = dict(twin.named_parameters(remove_duplicate=False))
    for batch in in_order(samples, batch_size):
        with torch.enable_grad():
            loss = data.objective.loss(twin(**batch.inputs), batch.targets)
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
        yield dict(zip(parameters, found, strict=True)), len(batch) / len(samples)


def drawn(samples: Split, count: int, seed: int) -> Samples:
    """At most `count` of the samples, in memory, drawn without replacement by the seed."""
    chosen = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))[:count]
    return next(iter(samples.batches([chosen])))
