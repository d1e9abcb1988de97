"""Zero the weights whose loss would change the loss function least, by its first-order Taylor expansion: shapes stay.

Molchanov et al. 2019, "Importance estimation for neural network pruning" (arXiv 1906.10771): without a weight w the loss changes by
about w ∂L/∂w. Its sign differs from batch to batch and its mean is near zero at an optimum, so the magnitudes are averaged; the
paper averages the squares, in which single batches weigh more.
"""

import copy

from torch import Tensor, nn

from slimline.data.samples import Samples
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.prune.gradients import batch_gradients, drawn
from slimline.methods.prune.weights import Scores, by_scores, weighted_layers
from slimline.params import TaylorParams


def taylor(model: nn.Module, config: TaylorParams, *, data: MethodData) -> Edited:
    """Return a copy in which the fraction of all Linear and convolution weights with the least |w ∂L/∂w| is zero.

    The gradients are those of the objective's loss on `config.samples` of the training split, drawn by `data.seed`, in evaluation mode,
    taken anew in each round of a schedule. Biases stay. Weights that are zero already count as pruned.

    Raises:
        StageError: a layer would lose every weight (the message names it), or `scope: sensitivity` and nothing measures it.
    """
    if config.idle:
        return Edited(copy.deepcopy(model))
    samples = drawn(data.train, config.samples, data.seed)
    return by_scores(model, config, data, lambda current: taylor_scores(current, data, samples, config.batch_size), final=config.fraction)


def taylor_scores(model: nn.Module, data: MethodData, samples: Samples, batch_size: int) -> Scores:
    """Module name -> |w ∂L/∂w|, averaged over the batches by their shares of the samples, float64 of the weight's shape."""
    weights = {name: layer.weight.detach().double() for name, layer in weighted_layers(model).items()}
    scores: dict[str, Tensor] = {name: weight.new_zeros(weight.shape) for name, weight in weights.items()}
    for gradients, share in batch_gradients(model, data, samples, batch_size):
        for name, weight in weights.items():
            scores[name] += share * (weight * gradients[f"{name}.weight".lstrip(".")]).abs()
    return {name: score.masked_fill(weights[name] == 0, -1.0) for name, score in scores.items()}
