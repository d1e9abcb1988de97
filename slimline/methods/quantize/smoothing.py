"""How strongly each input of layers is smoothed: what is moved from inputs into weights. Xiao et al. 2022, arXiv:2211.10438."""

from collections.abc import Container, Sequence

import torch
from torch import Tensor, nn

from slimline.methods.blocks import Block, blocks_of, evaluated_copy, matrix_layers
from slimline.methods.data import MethodData
from slimline.methods.scaling import Scalable, Scaler, scale_

SMALLEST = 1e-5


def smoothing_scale(largest: Tensor, weights: Sequence[Tensor], strength: float) -> Tensor:
    """max|x|^strength / max|w|^(1 - strength) of each input [inputs], by which it is divided; 1 where an input is always zero.

    `largest` is max|x| [inputs]; `weights` [outputs, inputs] are those of every layer that reads the input.
    """
    widest = torch.stack([weight.detach().abs().amax(dim=0) for weight in weights]).amax(dim=0)
    scale = largest.clamp(min=SMALLEST).pow(strength) / widest.clamp(min=SMALLEST).pow(1 - strength)
    return torch.where(largest > 0, scale, torch.ones_like(scale))


def smoothed(model: nn.Module, strength: float, data: MethodData, kept: Container[str] = ()) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy that computes the same with smoother inputs of its layers but the `kept` ones, and where that was not possible."""
    changed, unscaled, count = evaluated_copy(model), list[str](), 0
    scalables = Scaler()
    for block in blocks_of(changed, data.calibration):
        for one in scalables(block):
            if all(block.full_name(name) in kept for name in one.consumers):
                continue
            if one.producer is None:
                unscaled += [block.full_name(name) for name in one.consumers]
                continue
            scale_(block, one, _block_scale(block, one, strength))
            count += len(one.consumers)
    notes = (f"The inputs of {count} layers are smoothed.",)
    return changed, (*notes, f"Not smoothed, since nothing before them can take the scale: {', '.join(unscaled)}.") if unscaled else notes


def _block_scale(block: Block, one: Scalable, strength: float) -> Tensor:
    layers = matrix_layers(block.module)
    largest = block.gram(one.consumers[0]).largest.float()
    return smoothing_scale(largest, [layers[name].weight for name in one.consumers], strength).clamp(min=SMALLEST)
