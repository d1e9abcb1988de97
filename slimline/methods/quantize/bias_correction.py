"""Empirical bias correction: what rounding shifts a channel's mean output by, taken out of the bias."""

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from slimline.artifact.variant import NO_GRIDS
from slimline.data.batch import Batch
from slimline.methods.quantize.layerwise import mend_layers
from slimline.methods.quantize.plan import LAYER_TYPES, Layer, Plan
from slimline.methods.quantize.simulate import simulate

FLOAT = "float32"


def correct_biases(
    model: nn.Module, plan: Plan, *, reference: nn.Module, calibration: Batch, grids: Mapping[str, Tensor] = NO_GRIDS
) -> nn.Module:
    """A copy of `model` whose biases make up for the plan: each layer's mean output by channel is that of `reference`.

    The means are over all samples of `calibration` and all positions, padding and clipping included, and each layer is
    measured behind the corrected layers before it. A layer without bias gets one. Layers in float are left alone.
    Nagel et al. 2019, arXiv:1906.04721, section 4.2.
    """
    corrected, twin = copy.deepcopy(model).eval(), simulate(model, plan, grids)
    shifts: dict[str, Tensor] = {}

    def mend(name: str, _: Tensor, output: Tensor, expected: Tensor) -> Tensor:
        layer = twin.get_submodule(name)
        shifts[name] = channel_means(layer, output) - expected
        return output - _as_channels(layer, shifts[name], output)

    weighted = [name for name, entry in plan["layers"].items() if entry["precision"] != FLOAT]
    layers = [name for name in weighted if isinstance(twin.get_submodule(name), LAYER_TYPES)]
    mend_layers(copy.deepcopy(reference).eval(), twin, layers, calibration, summary=channel_means, mend=mend)
    for name, shift in shifts.items():
        _subtract_(cast("Layer", corrected.get_submodule(name)), shift)
    return corrected


def channel_means(layer: nn.Module, output: Tensor) -> Tensor:
    """The mean of each of a layer's output channels, over samples and positions: float32 [outputs]."""
    channels = output.shape[-1] if isinstance(layer, nn.Linear) else output.shape[1]
    by_channel = output.reshape(-1, channels) if isinstance(layer, nn.Linear) else output.movedim(1, -1).reshape(-1, channels)
    return by_channel.double().mean(dim=0).float()


def _as_channels(layer: nn.Module, values: Tensor, output: Tensor) -> Tensor:
    return values if isinstance(layer, nn.Linear) else values.view(-1, *[1] * (output.dim() - 2))


def _subtract_(layer: Layer, shift: Tensor) -> None:
    bias = torch.zeros_like(shift) if layer.bias is None else layer.bias.detach()
    layer.bias = nn.Parameter(bias - shift, requires_grad=layer.weight.requires_grad)
