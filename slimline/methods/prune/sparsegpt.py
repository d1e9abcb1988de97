"""Zero the weights whose loss the others can best make up for, and let them do so.

Frantar & Alistarh 2023, "SparseGPT" (arXiv 2301.00774): the columns are worked through as in GPTQ (see compensation.py).
"""

import copy

import torch
from torch import Tensor, nn

from slimline.methods.blocks import Gram
from slimline.methods.compensation import COLUMNS, Fix, compensated, inverse_factor
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.prune.layerwise import dropped, pruned_in_order
from slimline.params import SparsegptParams


def sparsegpt(model: nn.Module, config: SparsegptParams, *, data: MethodData) -> Edited:
    """Return a copy in which a fraction of the weights, or all but n of every m, is zero and the others are changed to make up for it.

    A weight's score is its square over that of the factor's diagonal: the squared error that remains. The fraction is that of each
    128 columns of a layer; weights that are zero already count as pruned. Biases and all other weights stay.

    Raises:
        StageError: no layer can be pruned so.
    """
    if config.idle:
        return Edited(copy.deepcopy(model))
    columns = COLUMNS if config.n is None else max(COLUMNS // config.m, 1) * config.m

    def prune(weight: Tensor, gram: Gram) -> Tensor:
        return compensated(weight, inverse_factor(gram.moment, config.damping), _zeroing(config), columns)

    return pruned_in_order(model, config, data, prune)


def _zeroing(config: SparsegptParams) -> Fix:
    """Zero where a mask says so that is chosen anew for each stretch of columns, by their values then."""
    step = config.m if config.n is not None else None
    gone = torch.zeros(0, 0, dtype=torch.bool)

    def fix(here: Tensor, diagonal: Tensor, _: int, column: int) -> Tensor:
        nonlocal gone
        place = column % (step or here.shape[1])
        if place == 0:
            stretch = slice(column, column + (step or here.shape[1]))
            gone = dropped((here[:, stretch] / diagonal[stretch]).square(), config)
        return here[:, column].masked_fill(gone[:, place], 0.0)

    return fix
