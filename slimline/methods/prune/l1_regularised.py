"""Train with an L1 penalty on the weights: those that the loss does not hold become exactly zero; shapes stay.

Tibshirani 1996, "Regression shrinkage and selection via the lasso"; for nets Han et al. 2015, arXiv:1506.02626. A penalty in the
loss makes weights small but never zero, so it is a proximal step (Parikh and Boyd 2014, "Proximal algorithms", 6.5.2) after AdamW's:

    w <- sign(w) max(|w| - t, 0),  t = penalty x mean |w| of the source x this step's share of all learning rates
"""

import copy
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.prune.regularised import train_on
from slimline.methods.prune.weights import weighted_layers
from slimline.params import L1RegularisedParams


def l1_regularised(model: nn.Module, config: L1RegularisedParams, *, data: MethodData) -> Edited:
    """Return a copy trained with the penalty, in evaluation mode: zeros in the weights of Linear and convolution layers.

    All weights bear the same steps, which are decoupled from the loss as AdamW's weight decay is. Counted in the mean weight of the
    source and in shares of the training, a penalty means about the same for other nets, learning rates and epochs.

    Raises:
        StageError: the trained model gives the same outputs for every sample.
    """
    if config.idle:
        return Edited(copy.deepcopy(model).eval())
    layers = weighted_layers(model)
    sizes = torch.cat([layer.weight.detach().abs().flatten() for layer in layers.values()])
    shrink = partial(_shrink_, names=tuple(layers), amount=config.penalty * sizes.mean().item())
    trained, history = train_on(model, config.training, data, shrink=shrink)
    return Edited(trained, history)


def _shrink_(model: nn.Module, share: float, *, names: Sequence[str], amount: float) -> None:
    for name in names:
        weight = model.get_submodule(name).get_parameter("weight")
        weight.copy_(functional.softshrink(weight, share * amount))
