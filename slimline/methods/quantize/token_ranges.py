"""Inputs that have a range for each token: rows are divided by their span before a product, and its outputs multiplied by it.

What a kernel is given then lies in one fixed range, so that every int8 kernel with fixed ranges takes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from slimline.methods.quantize.plan import Plan
from slimline.methods.quantize.weights import input_scale_of

UINT8_TOKENS = {"dtype": "uint8", "granularity": "per-token", "symmetric": False}
LARGEST_LEVEL = 255
SMALLEST_SPAN = 1e-12


@dataclass(frozen=True)
class TokenRange:
    """How a layer takes its inputs: divided by `scale` [inputs], then by their row's span, on 256 levels of which `zero_point` is zero.

    A row's span is the smallest with which no value lies beyond the levels.
    """

    scale: Tensor
    zero_point: int

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest level, in spans."""
        return -self.zero_point / LARGEST_LEVEL, (LARGEST_LEVEL - self.zero_point) / LARGEST_LEVEL

    def rounded(self, x: Tensor) -> Tensor:
        """Inputs [..., inputs] as the levels of their rows stand for them."""
        smooth, (low, high) = x / self.scale, self.ends
        span = torch.maximum(smooth.amax(dim=-1, keepdim=True) / high, smooth.amin(dim=-1, keepdim=True) / low).clamp(min=SMALLEST_SPAN)
        levels = (smooth / span * LARGEST_LEVEL + self.zero_point).round().clamp(0, LARGEST_LEVEL)
        return (levels - self.zero_point) / LARGEST_LEVEL * span * self.scale


def token_range(grids: Mapping[str, Tensor], layer: str) -> TokenRange | None:
    """The one that was stored beside the plan for a layer, if any."""
    scale = input_scale_of(grids, layer)
    return None if scale is None else TokenRange(scale, int(grids[f"{layer}.input_zero_point"]))


def named_range(layer: str, chosen: TokenRange) -> dict[str, Tensor]:
    """The same as it is stored."""
    return {f"{layer}.input_scale": chosen.scale, f"{layer}.input_zero_point": torch.tensor(float(chosen.zero_point))}


def token_ranged(plan: Plan, grids: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The layers whose inputs have a range for each token, in the plan's order."""
    return tuple(name for name in plan["layers"] if input_scale_of(grids, name) is not None)


def finest_zero_point(lows: Tensor, highs: Tensor) -> int:
    """The zero point 1…254 with the least squared spans of some rows, whose lowest and highest values [rows] are given."""
    points = torch.arange(1, LARGEST_LEVEL, dtype=torch.float32)[:, None]
    spans = torch.maximum(highs / (LARGEST_LEVEL - points), -lows / points)
    return 1 + int(spans.square().mean(dim=1).argmin())
