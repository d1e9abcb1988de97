"""What a model is run on where only the way of its channels matters."""

import copy

import torch
from torch import Tensor, nn

from slimline.data.batch import Batch, Tensors, tensors
from slimline.methods.prune.channel_flow import FAILURES


def reaching(model: nn.Module, example: Batch) -> Batch:
    """The samples of `example` with noise on their floats, always the same, so that they reach every channel.

    Whole numbers and yes or no stay: they may be indices or masks. The example itself where the model takes no such samples, or gives
    them no numbers: some floats are indices too, and some must not be negative.
    """
    generator = torch.Generator().manual_seed(0)
    noisy = {name: _noisy(value, generator) if value.is_floating_point() else value for name, value in example.items()}
    twin = copy.deepcopy(model).eval()
    try:
        with torch.no_grad():
            return noisy if _is_finite(twin(**noisy)) else example
    except FAILURES:
        return example


def _noisy(values: Tensor, generator: torch.Generator) -> Tensor:
    """Each value moved by about as much as they all differ."""
    finite = values[values.isfinite()]
    spread = finite.std(correction=0) if len(finite) else values.new_tensor(0.0)
    noise = torch.randn(values.shape, generator=generator, dtype=torch.float32).to(values.dtype)
    return values + noise * (spread if spread > 0 else 1.0)


def _is_finite(outputs: Tensors) -> bool:
    return all(bool(value.isfinite().all()) for value in tensors(outputs).values())
