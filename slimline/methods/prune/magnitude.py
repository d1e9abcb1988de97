"""Zero the weights of least magnitude, one by one: shapes stay.

Han et al. 2015, "Learning both weights and connections for efficient neural networks"; global against local scope:
Blalock et al. 2020, "What is the state of neural network pruning?". For single weights L1 (|w|) and L2 (w²) give the
same order, so with `fraction` they are equal; with `threshold` the score that is compared with it is |w| or w².
"""

import copy

import torch
from torch import Tensor, nn

from slimline.errors import StageError
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.masks import WEIGHTED
from slimline.params import MagnitudeParams


def magnitude(model: nn.Module, config: MagnitudeParams, *, data: MethodData) -> Edited:
    """Return a copy in which a fraction of all Linear and convolution weights, or those scoring below a threshold, is zero.

    `scope: global` ranks all layers together, `local` takes the fraction in each layer. Biases stay. Weights that are
    zero already count as pruned. `data.seed` decides for `criterion: random` alone.

    Raises:
        StageError: a layer would lose every weight; the message names it.
    """
    pruned = copy.deepcopy(model)
    layers = {name: layer for name, layer in pruned.named_modules() if isinstance(layer, WEIGHTED)}
    generator = torch.Generator().manual_seed(data.seed)
    scores = {name: weight_scores(layer.weight, config.criterion, generator) for name, layer in layers.items()}
    for name, dropped in _dropped(scores, config).items():
        if bool(dropped.all()):
            amount = f"threshold {config.threshold:g}" if config.fraction is None else f"fraction {config.fraction:g}"
            raise StageError(
                f"prune: layer {name!r} would lose all its {dropped.numel()} weights at {amount}; lower it or use scope: local"
            )
        with torch.no_grad():
            layers[name].weight.masked_fill_(dropped, 0.0)
    return Edited(pruned)


def weight_scores(weight: Tensor, criterion: str, generator: torch.Generator) -> Tensor:
    """What a weight is worth, of the weight's shape: |w| (l1), w² (l2), or chance (random); zeros are worth least."""
    size = weight.detach().abs().double()
    if criterion == "random":
        return torch.where(size == 0, -1.0, torch.rand(size.shape, generator=generator, dtype=torch.float64))
    return size if criterion == "l1" else size.square()


def lowest(scores: Tensor, fraction: float) -> Tensor:
    """A bool tensor of the same shape, True for the lowest-scoring `fraction` (rounded down; of equals, the first)."""
    flat = scores.flatten()
    picked = torch.zeros(flat.numel(), dtype=torch.bool)
    picked[torch.argsort(flat, stable=True)[: int(fraction * flat.numel())]] = True
    return picked.view(scores.shape)


def _dropped(scores: dict[str, Tensor], config: MagnitudeParams) -> dict[str, Tensor]:
    if config.fraction is None:
        return {name: score < (config.threshold or 0.0) for name, score in scores.items()}
    if config.scope == "local":
        return {name: lowest(score, config.fraction) for name, score in scores.items()}
    if not scores:
        return {}
    everything = lowest(torch.cat([score.flatten() for score in scores.values()]), config.fraction)
    parts = torch.split(everything, [score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}
