"""Scores by which single weights, or channels, of different layers can be ranked together.

Lee et al. 2021, "Layer-adaptive sparsity for the magnitude-based pruning" (arXiv 2010.07611), equation 4: ranked over all layers, they
bound how far the outputs move better than magnitudes do.
"""

import torch
from torch import Tensor


def lamp_scores(squares: Tensor) -> Tensor:
    """Each square over the sum of all in the layer that are no smaller, of the same shape; a layer's largest scores 1."""
    ascending, order = squares.flatten().sort(stable=True)
    not_smaller = ascending.flip(0).cumsum(0).flip(0).clamp_min(torch.finfo(squares.dtype).tiny)
    return torch.empty_like(ascending).scatter_(0, order, ascending / not_smaller).view(squares.shape)
