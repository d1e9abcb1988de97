"""Train with an L1 penalty on the weights: those that the loss does not hold become exactly zero; shapes stay.

Tibshirani 1996, "Regression shrinkage and selection via the lasso"; for nets Han et al. 2015, arXiv:1506.02626. A penalty in the
loss makes weights small but never zero, so it is a proximal step (Parikh and Boyd 2014, "Proximal algorithms", 6.5.2) after AdamW's:

    w <- sign(w) max(|w| - learning rate x penalty, 0)
"""

import copy
from functools import partial

from torch import Tensor, nn

from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.masks import WEIGHTED
from slimline.methods.prune.regularised import train_on
from slimline.params import L1RegularisedParams


def l1_regularised(model: nn.Module, config: L1RegularisedParams, *, data: MethodData) -> Edited:
    """Return a copy trained with the penalty, in evaluation mode: zeros in the weights of Linear and convolution layers.

    The penalty is decoupled from the loss as AdamW's weight decay is: it counts in learning rates, and so against steps whose size
    does not depend on the loss. At 1 a weight stays at zero unless nearly every batch draws it the same way.

    Raises:
        StageError: the trained model gives the same outputs for every sample.
    """
    if config.idle:
        return Edited(copy.deepcopy(model).eval())
    trained, history = train_on(model, config.training, data, after_step=partial(_shrink_, penalty=config.penalty))
    return Edited(trained, history)


def soft_threshold(values: Tensor, amount: float) -> Tensor:
    """Each value nearer to zero by `amount`, and zero where it was no farther."""
    return values.sign() * (values.abs() - amount).clamp_min(0)


def _shrink_(model: nn.Module, learning_rate: float, *, penalty: float) -> None:
    for layer in model.modules():
        if isinstance(layer, WEIGHTED):
            layer.weight.copy_(soft_threshold(layer.weight, learning_rate * penalty))
