"""Weight-only quantization: int8 or int4 weights, rounded to nearest; everything is still computed in float."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from slimline.methods.data import MethodData
from slimline.methods.quantize.plan import (
    BLOCKWISE_INT8,
    PROJECTED,
    RECURRENT_TYPES,
    Layer,
    Plan,
    Recurrent,
    entries_of,
    float_layer,
    layer_plan,
    make_plan,
    weighted_layers,
)
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.tables import table_entries
from slimline.methods.quantize.weight_sizes import group_size_for
from slimline.methods.quantize.weights import LEVEL_COUNT, Grid
from slimline.params import WeightOnlyParams
from slimline.params.quantize_weights import IntegerWeightParams
from slimline.training.records import Records


def weight_only(
    model: nn.Module,
    config: WeightOnlyParams,
    *,
    statistics: Records | None = None,  # noqa: ARG001 (uniform signature)
    data: MethodData | None = None,
) -> Quantized:
    """Plan int8 or int4 weights for every Linear and convolution, but those in keep_float, each rounded to the nearest level.

    A group is a run of `group_size` weights of one output, along its flattened inputs. Symmetric levels are derived from the
    weights; asymmetric ones spread over the range of each group, zero included, and are stored with their zero points.
    Dettmers & Zettlemoyer 2022, arXiv:2212.09720 (groups, 4 bits); Nagel et al. 2021, arXiv:2106.08295 (grids).

    Raises:
        InputError: keep_float names a layer that does not exist.
    """
    entries = weight_entries(model, config, data, granularity=config.granularity, symmetric=config.symmetric)
    grids = {} if config.symmetric else stored_grids(model, entries)
    return Quantized(copy.deepcopy(model).eval(), integer_plan("weight_only", entries, config), grids=grids)


def weight_entries(
    model: nn.Module, config: IntegerWeightParams, data: MethodData | None, *, granularity: str, symmetric: bool
) -> dict[str, dict[str, Any]]:
    """The plan's layers: integers in as many bits as the config says, or float where it keeps them.

    Where a layer's inputs cannot be cut into groups of the wanted size, smaller groups or whole channels take their place, and
    `reason` says so. LSTM and GRU layers have symmetric int8 with a scale for each channel, whatever the others have.

    Raises:
        InputError: keep_float names a layer that does not exist.
    """

    def small(_: str, layer: Layer | Recurrent) -> dict[str, Any]:
        return _entry(layer, config, granularity=granularity, symmetric=symmetric)

    return entries_of(model, config.keep_float, data, small, table_entries(config.embeddings, config.group_size))


def integer_plan(method: str, entries: dict[str, dict[str, Any]], config: IntegerWeightParams) -> Plan:
    """The whole plan of a method that leaves the inputs in float."""
    integers = next((entry for entry in entries.values() if entry["precision"] != "float32"), None)
    symmetric = integers is not None and integers["symmetric"]
    granularity = config.granularity if isinstance(config, WeightOnlyParams) else "per-group"
    weights = {"dtype": f"int{config.bits}", "granularity": granularity, "symmetric": symmetric}
    inputs = BLOCKWISE_INT8 if config.compute == "int8" else None
    return make_plan(method, entries, scheme={"weights": weights, "activations": inputs})


def stored_grids(model: nn.Module, entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Tensor]:
    """The asymmetric grids of all layers that store one: "<layer>.scale" and "<layer>.zero_point", float32 [outputs, groups]."""
    grids: dict[str, Tensor] = {}
    for name, layer in weighted_layers(model).items():
        if name in entries and entries[name]["stored_grid"]:
            grids |= named_grid(name, asymmetric_grid(grouped(layer.weight.detach(), entries[name]), entries[name]))
    return grids


def named_grid(layer: str, grid: Grid) -> dict[str, Tensor]:
    """A layer's grid as it is stored."""
    scale, zero_point = grid
    return {f"{layer}.scale": scale} | ({} if zero_point is None else {f"{layer}.zero_point": zero_point})


def grouped(weight: Tensor, entry: Mapping[str, Any]) -> Tensor:
    """A weight [outputs, …] as [outputs, groups, values of a group]; one group an output where the entry has no groups."""
    return weight.reshape(len(weight), -1, entry["group_size"] or weight[0].numel())


def asymmetric_grid(groups: Tensor, entry: Mapping[str, Any], *, whole_zero_points: bool = True) -> Grid:
    """Scales and zero points, float32 [outputs, groups], that spread the levels over each group's range.

    With `whole_zero_points` the range takes zero in and zero is one of its levels, so that weights that are zero stay so.
    """
    low, high = groups.amin(dim=-1), groups.amax(dim=-1)
    if entry["granularity"] == "per-tensor":
        low, high = low.amin().expand_as(low), high.amax().expand_as(high)
    if whole_zero_points:
        low, high = low.clamp(max=0), high.clamp(min=0)
    scale = (high - low) / (LEVEL_COUNT[entry["precision"]] - 1)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero_point = -low / scale
    return scale.contiguous(), (zero_point.round() if whole_zero_points else zero_point).contiguous()


def _entry(layer: Layer | Recurrent, config: IntegerWeightParams, *, granularity: str, symmetric: bool) -> dict[str, Any]:
    if isinstance(layer, nn.LSTM) and layer.proj_size:
        return float_layer(layer, PROJECTED)
    if isinstance(layer, RECURRENT_TYPES):
        return layer_plan(layer, "int8", activations=False, reason="recurrent layers are stored as int8 with a scale for each channel")
    values = layer.weight[0].numel()
    size = group_size_for(values, config.group_size) if granularity == "per-group" else None
    reason = None
    if granularity == "per-group" and size != config.group_size:
        instead = f"in groups of {size}" if size else "a scale for each channel"
        granularity, reason = "per-group" if size else "per-channel", f"{values} inputs are no multiple of {config.group_size}: {instead}"
    return layer_plan(
        layer,
        f"int{config.bits}",
        activations=False,
        granularity=granularity,
        group_size=size,
        symmetric=symmetric,
        stored_grid=not symmetric,
        reason=reason,
    )
