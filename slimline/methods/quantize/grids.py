"""Grids of integer weights whose ends are searched: a little of the largest weights is clipped where that makes the error least."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from slimline.methods.quantize.weight_only import asymmetric_grid, grouped
from slimline.methods.quantize.weights import LARGEST_LEVEL, Grid, rounded_weight

SMALLEST_SHARE, STEPS = 0.6, 17


def plain_grid(weight: Tensor, entry: Mapping[str, Any]) -> Grid:
    """The grid of the range of each group of a weight [outputs, …]; of symmetric entries that of its largest magnitude."""
    return _grid(grouped(weight.detach(), entry), entry, 1.0)


def searched_grid(weight: Tensor, entry: Mapping[str, Any], importance: Tensor | None = None) -> Grid:
    """The grid with the least squared error of each group, of those whose range is 1.0 to 0.6 of the group's.

    `importance` [inputs] weighs each column's error: the mean square of its input.
    """
    groups = grouped(weight.detach(), entry)
    weighing = torch.ones(groups.shape[1:]) if importance is None else importance.float().reshape(groups.shape[1:])
    best, least = _grid(groups, entry, 1.0), torch.full(groups.shape[:2], torch.inf)
    for share in torch.linspace(1.0, SMALLEST_SHARE, STEPS).tolist():
        grid = _grid(groups, entry, share)
        rounded = rounded_weight(weight, entry, grid).reshape(groups.shape)
        error = ((rounded - groups).square() * weighing).sum(dim=-1)
        better = error < least
        least = torch.where(better, error, least)
        zero_point = None if best[1] is None or grid[1] is None else torch.where(better, grid[1], best[1])
        best = torch.where(better, grid[0], best[0]), zero_point
    return best


def _grid(groups: Tensor, entry: Mapping[str, Any], share: float) -> Grid:
    if not entry["symmetric"]:
        return asymmetric_grid(groups * share, entry)
    largest = groups.abs().amax(dim=-1) * share
    return torch.where(largest > 0, largest, torch.ones_like(largest)) / LARGEST_LEVEL[entry["precision"]], None
