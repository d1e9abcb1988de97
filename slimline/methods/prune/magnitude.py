"""Zero the weights of least magnitude, one by one: shapes stay.

Han et al. 2015, "Learning both weights and connections for efficient neural networks" (arXiv 1506.02626); global against local
scope: Blalock et al. 2020, "What is the state of neural network pruning?" (arXiv 2003.03033). For single weights L1 (|w|) and L2 (w²)
give the same order, so with `fraction` they are equal; with `threshold` the score that is compared with it is |w| or w².
"""

import copy

import torch
from torch import Tensor, nn

from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.prune.lamp import lamp_scores
from slimline.methods.prune.weights import Scores, by_scores, lowest, weighted_layers, zeroed
from slimline.params import MagnitudeParams


def magnitude(model: nn.Module, config: MagnitudeParams, *, data: MethodData) -> Edited:
    """Return a copy in which a fraction of all Linear and convolution weights, or those scoring below a threshold, is zero.

    Biases stay. Weights that are zero already count as pruned. `data.seed` decides for `criterion: random` alone.

    Raises:
        StageError: a layer would lose every weight (the message names it), or `scope: sensitivity` and nothing measures it.
    """
    if config.idle:
        return Edited(copy.deepcopy(model))
    if config.threshold is not None:
        scores = magnitudes(model, config.criterion, data.seed)
        dropped = {name: (score < config.threshold) & lowest(score, 1 - config.floor) for name, score in scores.items()}
        return Edited(zeroed(model, dropped, f"threshold {config.threshold:g}"))
    return by_scores(model, config, data, lambda current: magnitudes(current, config.criterion, data.seed), final=config.fraction or 0.0)


def magnitudes(model: nn.Module, criterion: str, seed: int) -> Scores:
    """Module name -> the scores of its weights by a criterion of `weight_scores`."""
    generator = torch.Generator().manual_seed(seed)
    return {name: weight_scores(layer.weight, criterion, generator) for name, layer in weighted_layers(model).items()}


def weight_scores(weight: Tensor, criterion: str, generator: torch.Generator) -> Tensor:
    """What a weight is worth, float64 of the weight's shape: |w| (l1), w² (l2), lamp, or chance (random); zeros are worth least."""
    size = weight.detach().abs().double()
    if criterion == "random":
        return torch.where(size == 0, -1.0, torch.rand(size.shape, generator=generator, dtype=torch.float64))
    if criterion == "lamp":
        return lamp_scores(size.square())
    return size if criterion == "l1" else size.square()
