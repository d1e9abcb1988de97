"""Zero the weights of least magnitude times the norm of their input, in each output the same share.

Sun et al. 2023, "A simple and effective pruning approach for large language models" (arXiv 2306.11695).
"""

import copy

import torch
from torch import Tensor, nn

from slimline.methods.blocks import Gram
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.prune.layerwise import dropped, pruned_in_order
from slimline.params import WandaParams


def wanda(model: nn.Module, config: WandaParams, *, data: MethodData) -> Edited:
    """Return a copy in which of each output's weights a fraction, or all but n of every m, is zero; biases and all other weights stay.

    Raises:
        StageError: no layer can be pruned so.
    """
    if config.idle:
        return Edited(copy.deepcopy(model))

    def prune(weight: Tensor, gram: Gram) -> Tensor:
        scores = weight.abs().double() * gram.moment.diagonal().clamp(min=0).sqrt()
        if config.n is not None:
            return weight.masked_fill(dropped(scores, config), 0.0)
        return weight.masked_fill(torch.stack([dropped(row, config) for row in scores]), 0.0)

    return pruned_in_order(model, config, data, prune)
