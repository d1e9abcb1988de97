"""Columns of a matrix fixed one by one, the columns after them changed so that the layer's outputs stay: GPTQ's and SparseGPT's core.

Frantar & Alistarh 2022, "Optimal Brain Compression", arXiv:2208.11580; Frantar et al. 2022, "GPTQ", arXiv:2210.17323.
"""

from collections.abc import Callable

import torch
from torch import Tensor

COLUMNS = 128
Fix = Callable[[Tensor, Tensor, int, int], Tensor]
"""(the columns worked on as they are now [outputs, columns], the factor's diagonal there, place of the first, which one) -> its values."""


def inverse_factor(moment: Tensor, damping: float) -> Tensor:
    """The upper triangular U with U^T U = (H + ridge)^-1 of a second moment H, float64 [inputs, inputs].

    The ridge is `damping` times the mean of the diagonal. An input that is always zero counts as one of size 1.
    """
    damped = moment.double().clone()
    diagonal = damped.diagonal()
    diagonal[diagonal == 0] = 1.0
    ridge = damping * diagonal.mean()
    identity = torch.eye(len(damped), dtype=damped.dtype)
    for _ in range(40):
        root, failed = torch.linalg.cholesky_ex(damped + ridge * identity)
        if not bool(failed):
            inverse = torch.cholesky_inverse(root)
            factor, failed = torch.linalg.cholesky_ex(inverse, upper=True)
            if not bool(failed):
                return factor
        ridge = ridge * 4
    return identity


def compensated(weight: Tensor, factor: Tensor, fix: Fix, columns: int = COLUMNS) -> Tensor:
    """A matrix [outputs, inputs] whose columns, first to last, are what `fix` makes of them; each one's error goes to the ones after it.

    The result is float32. `factor` is that of `inverse_factor`; so many `columns` are worked on at a time, and what they change in
    later ones is added up.
    """
    left, factor = weight.detach().float().clone(), factor.float()
    for first in range(0, left.shape[1], columns):
        last = min(first + columns, left.shape[1])
        here, near = left[:, first:last], factor[first:last, first:last]
        diagonal, errors = near.diagonal(), torch.zeros_like(here)
        for column in range(last - first):
            fixed = fix(here, diagonal, first, column)
            error = (here[:, column] - fixed) / diagonal[column]
            here[:, column:] -= torch.outer(error, near[column, column:])
            here[:, column] = fixed
            errors[:, column] = error
        left[:, last:] -= errors @ factor[first:last, last:]
    return left
