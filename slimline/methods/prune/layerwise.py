"""Single weights pruned block by block, by what each layer reads on the calibration sample."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from slimline.errors import Impossible
from slimline.methods.blocks import Gram, evaluated_copy, matrix_layers
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.layers_in_order import layers_in_order
from slimline.methods.prune.semi_structured import outside
from slimline.methods.prune.weights import lowest
from slimline.params.prune_unstructured import LayerwiseParams

Prune = Callable[[Tensor, Gram], Tensor]
"""(a weight [outputs, inputs], what its layer reads) -> the pruned weight."""


def pruned_in_order(model: nn.Module, config: LayerwiseParams, data: MethodData, prune: Prune) -> Edited:
    """A copy whose layers are pruned in the order in which they run, each reading what the pruned ones before it give.

    Where the model is a stack of blocks, the layers outside of it stay: an embedding, a head. So do grouped convolutions, layers that
    run more than once, and with n:m those whose inputs are no multiple of m.

    Raises:
        StageError: no layer can be pruned so.
    """
    changed, done = evaluated_copy(model), set[str]()
    for name, layer, gram in layers_in_order(changed, data.calibration, lambda _, layer: _fits(layer, config)):
        with torch.no_grad():
            layer.weight.copy_(prune(layer.weight.detach().flatten(1), gram).reshape(layer.weight.shape))
        done.add(name)
    if not done:
        raise Impossible(f"prune: {config.method}: no layer can be pruned {config.amount}; give another amount, or take method magnitude")
    left = [name or "the model" for name in matrix_layers(changed) if name not in done]
    notes = (f"Left whole, outside of the blocks or not to be cut so: {', '.join(left)}.",) if left else ()
    return Edited(changed.train(model.training), notes=notes, details={"pruned_layers": len(done)})


def dropped(scores: Tensor, config: LayerwiseParams) -> Tensor:
    """True for the weights [outputs, inputs] that go: the lowest of each m inputs, or the lowest fraction of all that are given."""
    if config.n is not None:
        return outside(scores, config.n, config.m)
    return lowest(scores, config.fraction or 0.0)


def _fits(layer: nn.Module, config: LayerwiseParams) -> bool:
    weight = layer.get_parameter("weight")
    return len(weight) > 0 and (config.n is None or weight[0].numel() % config.m == 0)
