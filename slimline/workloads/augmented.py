"""Pictures changed a little at random, in ways that keep what they show."""

import torch
from torch import Tensor
from torch.nn import functional

TURN, SCALE, SHIFT = torch.pi / 18, 0.1, 0.12
"""At most: radians, share, and share of the side."""


def shaken(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures [N, C, H, W], each turned, scaled and shifted its own way; what comes in at the border repeats the border."""
    draw = torch.rand(len(pictures), 4, generator=generator) * 2 - 1
    angle, scale, shift = draw[:, 0] * TURN, 1 + SCALE * draw[:, 1], draw[:, 2:] * SHIFT
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack((cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1]), dim=1)
    grid = functional.affine_grid(rows.view(-1, 2, 3), list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
