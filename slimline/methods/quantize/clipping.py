"""The weight observer `mse`: weights clipped where the squared error of rounding and clipping is least."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from slimline.methods.quantize.weights import LARGEST_LEVEL, rounded_weight

SMALLEST_SHARE, STEPS = 0.4, 60


def clipped_weight(weight: Tensor, entry: Mapping[str, Any]) -> Tensor:
    """A weight [outputs, …] clipped per channel (or tensor) at the threshold with the least squared error in the entry's grid.

    Thresholds from the largest magnitude down to 0.4 of it, in 60 steps, are tried. The largest magnitude left is the
    threshold, so that the derived grid is the one that was chosen. Nagel et al. 2021, arXiv:2106.08295, section 3.1.
    """
    flat = weight.detach().flatten(1)
    largest = flat.abs().amax(dim=1, keepdim=True)
    if entry["granularity"] == "per-tensor":
        largest = largest.amax().expand_as(largest)
    best, threshold = torch.full_like(largest, torch.inf), largest
    for share in torch.linspace(1.0, SMALLEST_SHARE, STEPS).tolist():
        error = _squared_error(flat, largest * share, entry)
        threshold = torch.where(error < best, largest * share, threshold)
        best = torch.minimum(error, best)
    return flat.clamp(-threshold, threshold).view_as(weight)


def _squared_error(flat: Tensor, threshold: Tensor, entry: Mapping[str, Any]) -> Tensor:
    """The squared error of each threshold's channel, or of the tensor: [outputs, 1]."""
    scale = torch.where(threshold > 0, threshold, torch.ones_like(threshold)) / LARGEST_LEVEL[entry["precision"]]
    rounded = rounded_weight(flat.clamp(-threshold, threshold), entry, (scale, None))
    error = (rounded - flat).square().sum(dim=1, keepdim=True)
    return error.sum().expand_as(error) if entry["granularity"] == "per-tensor" else error
