"""AWQ: columns that meet large inputs are scaled up before rounding, so that their error counts for less, and what makes them down."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from slimline.methods.blocks import Block, Gram, blocks_of, evaluated_copy, matrix_layers
from slimline.methods.data import MethodData
from slimline.methods.quantize.gptq import has_grid, mark_fitted, rest_of_grids
from slimline.methods.quantize.grids import plain_grid, searched_grid
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.weight_only import integer_plan, named_grid, weight_entries
from slimline.methods.quantize.weights import rounded_weight
from slimline.methods.scaling import Scalable, Scaler, scale_
from slimline.params.quantize_weights import AwqParams
from slimline.training.records import Records

STEPS = 20


def awq(
    model: nn.Module,
    config: AwqParams,
    *,
    statistics: Records | None = None,  # noqa: ARG001 (uniform signature)
    data: MethodData,
) -> Quantized:
    """Integer weights in groups whose columns are scaled by a power of their input's mean magnitude, chosen by the outputs' error.

    The scale is folded into the norm or layer that makes the input, where scaling that leaves the block's outputs as they are; elsewhere
    there is none, and the notes say where. Ends of the groups' grids are searched (`clip`). Block by block, each reads what the rounded
    blocks before it give. Lin et al. 2023, arXiv:2306.00978.

    Raises:
        InputError: keep_float names a layer that does not exist.
    """
    entries = weight_entries(model, config, data, granularity="per-group", symmetric=config.symmetric)
    mark_fitted(model, entries)
    changed, grids, unscaled = evaluated_copy(model), dict[str, Tensor](), list[str]()
    exact: dict[str, Tensor] = {}
    scalables = Scaler()
    for block in blocks_of(changed, data.calibration):
        found = scalables(block)
        moments = [_scaled_(block, one, entries) for one in found]
        for one, moment in zip(found, moments, strict=True):
            grids |= _rounded_(block, one, moment, entries, config, exact)
            unscaled += [] if one.producer else [block.full_name(name) for name in one.consumers]
    grids |= rest_of_grids(changed, entries, grids)
    for name, weight in exact.items():
        changed.get_submodule(name).get_parameter("weight").data = weight
    notes = (f"Not scaled, since nothing before them can take the scale: {', '.join(unscaled)}.",) if unscaled else ()
    return Quantized(changed, integer_plan("awq", entries, config), grids=grids, notes=notes)


def _planned(block: Block, one: Scalable, entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The entries of a group's layers that are to be rounded, by their names in the block."""
    return {name: entries[block.full_name(name)] for name in one.consumers if has_grid(entries.get(block.full_name(name)))}


def _scaled_(block: Block, one: Scalable, entries: Mapping[str, Mapping[str, Any]]) -> Tensor:
    """Scale a group of layers by what their rounding asks for, in place; the second moment of their inputs after it.

    All groups of a block are scaled before any is rounded: a layer may be scaled as one that reads, and as one that makes an input.
    """
    planned = _planned(block, one, entries)
    gram = block.gram(one.consumers[0]) if planned else Gram()
    moment = gram.moment.float()
    if one.producer is None or len(planned) < len(one.consumers):
        return moment
    layers = matrix_layers(block.module)
    scale = best_scale([layers[name].weight.detach() for name in planned], list(planned.values()), gram)
    scale_(block, one, scale)
    return moment / torch.outer(scale, scale)


def _rounded_(
    block: Block, one: Scalable, moment: Tensor, entries: Mapping[str, Mapping[str, Any]], config: AwqParams, exact: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Round a group of layers, in place; their grids. `exact` takes the weights before they were rounded."""
    grids: dict[str, Tensor] = {}
    for name, entry in _planned(block, one, entries).items():
        weight, full = matrix_layers(block.module)[name].weight, block.full_name(name)
        exact[full] = weight.detach().clone()
        grid = searched_grid(weight, entry, moment.diagonal()) if config.clip else plain_grid(weight, entry)
        weight.data = rounded_weight(weight.detach(), entry, grid)
        grids |= named_grid(full, grid)
    return grids


def best_scale(weights: list[Tensor], entries: list[Mapping[str, Any]], gram: Gram) -> Tensor:
    """The scale [inputs] of weights [outputs, inputs] that read one tensor whose rounding moves their outputs least, in the square.

    Tried are the powers 0 to 0.95 of the inputs' mean magnitude.
    """
    size, moment = gram.mean_magnitude.float().clamp(min=1e-4), gram.moment.float()
    best, least = torch.ones_like(size), torch.inf
    for step in range(STEPS):
        power = size.pow(step / STEPS)
        scale = (power / (power.max() * power.min()).sqrt()).clamp(min=1e-4)
        error = sum(_error(weight, scale, entry, moment) for weight, entry in zip(weights, entries, strict=True))
        if error < least:
            best, least = scale, error
    return best


def _error(weight: Tensor, scale: Tensor, entry: Mapping[str, Any], moment: Tensor) -> float:
    """The mean square by which the outputs move, summed over them."""
    scaled = weight * scale
    off = rounded_weight(scaled, entry, plain_grid(scaled, entry)) / scale - weight
    return float(((off @ moment) * off).sum())
