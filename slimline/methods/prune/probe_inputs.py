"""What a model is run on where only the way of its channels matters."""

import copy

import torch
from torch import Tensor, nn

from slimline.methods.prune.channel_flow import FAILURES


def noise_for(model: nn.Module, example_input: Tensor) -> Tensor:
    """Noise of the same shape, always the same, which reaches every channel; the example itself where the model takes no noise.

    It takes none where inputs are indices, be it in some columns alone.
    """
    if not example_input.is_floating_point():
        return example_input
    noise = torch.randn(example_input.shape, generator=torch.Generator().manual_seed(0), dtype=example_input.dtype)
    try:
        with torch.no_grad():
            copy.deepcopy(model).eval()(noise)
    except FAILURES:
        return example_input
    return noise
