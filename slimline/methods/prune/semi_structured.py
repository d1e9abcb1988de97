"""Keep n of every m weights in a row along a layer's inputs (2:4): the pattern that some GPUs' tensor cores skip zeros in.

Mishra et al. 2021, "Accelerating sparse deep neural networks" (arXiv 2104.08378): of each group of m the n largest stay, then the
model is trained on. The rows of Linear layers and, of convolutions, the input channels at each place of the kernel are so grouped.
"""

import copy

import torch
from torch import Tensor, nn

from slimline.errors import Impossible
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.prune.magnitude import weight_scores
from slimline.methods.prune.weights import weighted_layers, zeroed
from slimline.params import SemiStructuredParams


def semi_structured(model: nn.Module, config: SemiStructuredParams, *, data: MethodData) -> Edited:
    """Return a copy in which every m consecutive inputs of a Linear layer or convolution have at most n weights that are not zero.

    Layers whose inputs (of a convolution: input channels of a group) are no multiple of m stay as they are, and are listed in
    `notes`. Biases stay. `data.seed` decides for `criterion: random` alone.

    Raises:
        StageError: no layer has inputs in multiples of m.
    """
    if config.idle:
        return Edited(copy.deepcopy(model))
    layers = weighted_layers(model)
    fitting = {name: layer.weight.detach() for name, layer in layers.items() if layer.weight.shape[1] % config.m == 0}
    if not fitting:
        raise Impossible(f"prune: none of {len(layers)} layers has inputs in multiples of m = {config.m}; lower m in params.yaml")
    generator = torch.Generator().manual_seed(data.seed)
    dropped = {name: outside(weight_scores(weight, config.criterion, generator), config.n, config.m) for name, weight in fitting.items()}
    left = [name or "the model" for name in layers if name not in fitting]
    notes = (f"Not {config.n}:{config.m}, for their inputs are no multiple of {config.m}: {', '.join(left)}.",) if left else ()
    return Edited(zeroed(model, dropped, f"{config.n}:{config.m}"), notes=notes, details={"semi_structured_layers": len(fitting)})


def outside(scores: Tensor, n: int, m: int) -> Tensor:
    """A bool tensor like `scores` [outputs, inputs, …], True for all but the n highest of each m inputs (of equals, the last)."""
    groups = scores.movedim(1, -1)
    shape = groups.shape
    groups = groups.reshape(-1, m)
    lowest = groups.argsort(dim=1, stable=True)[:, : m - n]
    picked = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, lowest, True)
    return picked.view(shape).movedim(-1, 1)
