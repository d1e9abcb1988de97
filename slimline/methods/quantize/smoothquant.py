"""SmoothQuant: outliers of a layer's inputs are moved into its weights before both are rounded to int8."""

import dataclasses
from collections.abc import Container

import torch
from torch import Tensor, nn

from slimline.methods.blocks import Block, blocks_of, evaluated_copy, matrix_layers
from slimline.methods.data import MethodData
from slimline.methods.quantize.dynamic import dynamic
from slimline.methods.quantize.per_token import per_token
from slimline.methods.quantize.plan import float_reasons
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.static import calibrated, with_corrected_biases
from slimline.methods.scaling import Scalable, Scaler, scale_
from slimline.params.quantize import DynamicParams, SmoothquantParams
from slimline.training.records import Records

SMALLEST = 1e-5


def smoothquant(
    model: nn.Module,
    config: SmoothquantParams,
    *,
    statistics: Records | None = None,  # noqa: ARG001 (uniform signature)
    data: MethodData,
) -> Quantized:
    """Int8 weights and inputs, ranged by calibration or while running, of a model whose layers' inputs are smoothed first.

    Each input's scale is max|x|^strength / max|w|^(1 - strength), folded into the norm or layer that makes it, where scaling that leaves
    the block's outputs as they are; elsewhere there is none, and the notes say where. With ranges for each token it is applied while
    running instead (see per_token.py). Xiao et al. 2022, arXiv:2211.10438.

    Raises:
        InputError: keep_float names a layer that does not exist.
        StageError: torch.export cannot follow the model, where batch norms are to be folded.
    """
    if config.ranges == "per-token":
        return per_token(model, config, data=data)
    kept = float_reasons(model, config.keep_float, None)
    smooth, notes = smoothed(model, config.strength, data, kept)
    if config.ranges == "dynamic":
        told = {name: getattr(config, name) for name in ("source", "keep_float", "embeddings", "rest")}
        plain = DynamicParams(method="dynamic", **told)
        made = dynamic(smooth, plain, data=data)
    else:
        made = calibrated(smooth, config, statistics=data.collect(smooth), data=data)
        made = with_corrected_biases(made, config, data=data)
    return dataclasses.replace(made, plan={**made.plan, "method": "smoothquant"}, notes=(*notes, *made.notes))


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
            scale_(block, one, smoothing_scale(block, one, strength))
            count += len(one.consumers)
    notes = (f"The inputs of {count} layers are smoothed.",)
    return changed, (*notes, f"Not smoothed, since nothing before them can take the scale: {', '.join(unscaled)}.") if unscaled else notes


def smoothing_scale(block: Block, one: Scalable, strength: float) -> Tensor:
    """By what a group's columns are multiplied [inputs]."""
    layers = matrix_layers(block.module)
    inputs = block.gram(one.consumers[0]).largest.float()
    weights = torch.stack([layers[name].weight.detach().abs().amax(dim=0) for name in one.consumers]).amax(dim=0)
    scale = inputs.clamp(min=SMALLEST).pow(strength) / weights.clamp(min=SMALLEST).pow(1 - strength)
    return torch.where(inputs > 0, scale.clamp(min=SMALLEST), torch.ones_like(scale))
