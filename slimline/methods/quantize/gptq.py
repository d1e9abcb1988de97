"""GPTQ: each weight's rounding error is made up for by the weights of the same output that are not rounded yet."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from slimline.methods.blocks import Gram, evaluated_copy
from slimline.methods.compensation import Fix, compensated, inverse_factor
from slimline.methods.data import MethodData
from slimline.methods.layers_in_order import layers_in_order
from slimline.methods.quantize.grids import plain_grid, searched_grid
from slimline.methods.quantize.plan import INTEGERS, Layer, Plan, kind, table_owners, weighted_layers
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.weight_only import integer_plan, named_grid, weight_entries
from slimline.methods.quantize.weights import LARGEST_LEVEL, LEVEL_COUNT, Grid
from slimline.params import TEACHER
from slimline.params.quantize_weights import GptqParams
from slimline.training.records import Records


def gptq(
    model: nn.Module,
    config: GptqParams,
    *,
    statistics: Records | None = None,  # noqa: ARG001 (uniform signature)
    data: MethodData,
) -> Quantized:
    """Integer weights in groups, rounded column by column so that each layer's outputs on the calibration sample stay.

    Block by block, and inside of one in the order in which its layers run, each layer reads what the rounded ones before it give.
    Ends of the groups' grids are searched first, by the error that each column's input weighs. Layers outside of the blocks, those that
    run more than once, grouped convolutions and embeddings are rounded to nearest. Frantar et al. 2022, arXiv:2210.17323.

    Raises:
        InputError: keep_float names a layer that does not exist.
    """
    entries = weight_entries(model, config, data, granularity="per-group", symmetric=config.symmetric)
    changed, grids, notes = put_on_grids(model, entries, config, data)
    return Quantized(changed, integer_plan("gptq", entries, config), reference=evaluated_copy(model), grids=grids, notes=notes)


def compensated_plan(made: Quantized, data: MethodData) -> Quantized:
    """The same plan, its layers of integer weights alone rounded as gptq does it by itself, and their grids stored."""
    entries = {name: dict(entry) for name, entry in made.plan["layers"].items()}
    alone = {name: entry for name, entry in entries.items() if kind(entry) == "weights"}
    changed, grids, notes = put_on_grids(made.model, alone, GptqParams(source=TEACHER, method="gptq"), data)
    plan: Plan = {**made.plan, "layers": entries}
    return dataclasses.replace(made, model=changed, plan=plan, grids={**made.grids, **grids}, notes=(*made.notes, *notes))


def put_on_grids(
    model: nn.Module, entries: Mapping[str, dict[str, Any]], config: GptqParams, data: MethodData
) -> tuple[nn.Module, dict[str, Tensor], tuple[str, ...]]:
    """A copy whose planned layers are on the grids that are given beside it, and notes; the entries say that grids are stored, in place."""
    mark_fitted(model, entries)
    changed, grids, fitted = evaluated_copy(model), dict[str, Tensor](), set[str]()
    for name, layer, gram in layers_in_order(changed, data.calibration, lambda name, _: has_grid(entries.get(name))):
        grids |= named_grid(name, _rounded_(layer, entries[name], gram, config))
        fitted.add(name)
    return changed, grids | rest_of_grids(changed, entries, grids), _notes(entries, fitted)


def mark_fitted(model: nn.Module, entries: Mapping[str, dict[str, Any]]) -> None:
    """Let the entries of Linear layers and convolutions say that their grids are stored; not where an embedding's weight is shared."""
    shared = table_owners(model)
    for name in (weighted_layers(model).keys() - shared.keys()) & entries.keys():
        entries[name]["stored_grid"] |= entries[name]["precision"] in INTEGERS


def rest_of_grids(model: nn.Module, entries: Mapping[str, Mapping[str, Any]], grids: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The grids of layers that were not fitted: by the range of their weights."""
    left = [name for name, entry in entries.items() if entry["stored_grid"] and f"{name}.scale" not in grids]
    layers = weighted_layers(model)
    found: dict[str, Tensor] = {}
    for name in left:
        found |= named_grid(name, plain_grid(layers[name].weight, entries[name]))
    return found


def has_grid(entry: Mapping[str, Any] | None) -> bool:
    """Whether a layer is planned in integers with a grid that is stored."""
    return entry is not None and entry["precision"] in INTEGERS and bool(entry["stored_grid"])


def _rounded_(layer: Layer, entry: Mapping[str, Any], gram: Gram, config: GptqParams) -> Grid:
    """Put a layer's weight on a grid, in place; that grid."""
    weight, moment = layer.weight.detach().flatten(1), gram.moment
    grid = searched_grid(weight, entry, moment.diagonal()) if config.search else plain_grid(weight, entry)
    rounded = rounded_with_compensation(weight, entry, grid, moment, act_order=config.act_order, damping=config.damping)
    layer.weight.data = rounded.reshape(layer.weight.shape)
    return grid


def rounded_with_compensation(
    weight: Tensor, entry: Mapping[str, Any], grid: Grid, moment: Tensor, *, act_order: bool = True, damping: float = 0.01
) -> Tensor:
    """A weight [outputs, inputs] on the levels of a grid, column by column; `moment` [inputs, inputs] is the second one of its inputs."""
    order = moment.diagonal().argsort(descending=True) if act_order else torch.arange(len(moment))
    factor = inverse_factor(moment[order][:, order], damping)
    rounded = compensated(weight[:, order], factor, _nearest(grid, entry, order, weight.shape[1]))
    return rounded[:, order.argsort()]


def _nearest(grid: Grid, entry: Mapping[str, Any], order: Tensor, inputs: int) -> Fix:
    """Each column to the nearest level of the grid that its group has."""
    scale, zero_point = grid
    of_group = (order // (inputs // scale.shape[1])).tolist()
    largest = LARGEST_LEVEL[entry["precision"]]
    low, high = (-largest, largest) if zero_point is None else (0, LEVEL_COUNT[entry["precision"]] - 1)

    def fix(here: Tensor, _: Tensor, first: int, column: int) -> Tensor:
        group = of_group[first + column]
        step, zero = scale[:, group], 0.0 if zero_point is None else zero_point[:, group]
        return ((here[:, column] / step + zero).round().clamp(low, high) - zero) * step

    return fix


def _notes(entries: Mapping[str, Mapping[str, Any]], fitted: set[str]) -> tuple[str, ...]:
    others = [name for name, entry in entries.items() if entry["precision"] in INTEGERS and name not in fitted]
    found = (f"Rounded with compensation: {len(fitted)} layers.",)
    return (*found, f"Rounded to nearest: {', '.join(others)}.") if others else found
