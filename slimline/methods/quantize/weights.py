"""Weights on their grid: which integer each becomes, and what that integer stands for."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

SIXTEEN_BIT = ("float16", "bfloat16")
LARGEST_LEVEL = {"int8": 127, "int4": 7, "int3": 3, "int2": 1}
LEVEL_COUNT = {"int8": 256, "int4": 16, "int3": 8, "int2": 4}
Grid = tuple[Tensor, Tensor | None]
"""Scales and, where zero is no level of its own, zero points; both float32 [outputs, groups]."""


def rounded_weight(weight: Tensor, entry: Mapping[str, Any], grid: Grid | None = None) -> Tensor:
    """What is left of a weight [outputs, …] in the precision of a plan's entry, as float32 of the same shape."""
    if entry["precision"] == "float32":
        return weight
    if entry["precision"] in SIXTEEN_BIT:
        return weight.to(getattr(torch, entry["precision"])).float()
    scale, zero_point = grid or derived_grid(weight, entry)
    grouped = levels(weight, entry, grid).float().reshape(*scale.shape, -1)
    shifted = grouped if zero_point is None else grouped - zero_point.unsqueeze(-1)
    return (shifted * scale.unsqueeze(-1)).reshape(weight.shape)


def levels(weight: Tensor, entry: Mapping[str, Any], grid: Grid | None = None) -> Tensor:
    """The integers of a weight [outputs, …], int8 of the same shape (asymmetric int8: uint8).

    Symmetric ones lie in -127…127 (int4: -7…7), asymmetric ones in 0…255 (0…15).
    """
    scale, zero_point = grid or derived_grid(weight, entry)
    grouped = weight.detach().reshape(*scale.shape, -1) / scale.unsqueeze(-1)
    if zero_point is None:
        largest = LARGEST_LEVEL[entry["precision"]]
        return grouped.round().clamp(-largest, largest).to(torch.int8).reshape(weight.shape)
    shifted = (grouped + zero_point.unsqueeze(-1)).round().clamp(0, LEVEL_COUNT[entry["precision"]] - 1)
    return shifted.to(torch.uint8).reshape(weight.shape)


def derived_grid(weight: Tensor, entry: Mapping[str, Any]) -> Grid:
    """The symmetric grid that a weight itself tells: the largest magnitude of each group becomes the largest level."""
    largest = _grouped(weight.detach(), entry).abs().amax(dim=-1)
    if entry["granularity"] == "per-tensor":
        largest = largest.amax().expand(len(weight), 1)
    return torch.where(largest > 0, largest, torch.ones_like(largest)) / LARGEST_LEVEL[entry["precision"]], None


def stored_grid(grids: Mapping[str, Tensor], layer: str, entry: Mapping[str, Any]) -> Grid | None:
    """The grid that was saved beside the plan for a layer; None where the weight itself tells it.

    Where the layer's inputs have scales of their own, each weight has: that of its output over that of its input.
    """
    if not entry["stored_grid"]:
        return None
    scale, input_scale = grids[f"{layer}.scale"], input_scale_of(grids, layer)
    return scale if input_scale is None else scale / input_scale, grids.get(f"{layer}.zero_point")


def input_scale_of(grids: Mapping[str, Tensor], layer: str) -> Tensor | None:
    """By what a layer's inputs are divided while it runs, [inputs], where they are smoothed so; the levels are of the weight times it."""
    return grids.get(f"{layer}.input_scale")


def _grouped(weight: Tensor, entry: Mapping[str, Any]) -> Tensor:
    """[outputs, …] -> [outputs, groups, values of a group]."""
    return weight.reshape(len(weight), -1, entry["group_size"] or weight[0].numel())
