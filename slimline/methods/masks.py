"""Which weights are zero, so that later training can keep them so."""

from torch import Tensor, nn

SPARSE_FROM = 0.01
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
ORIGINAL = "parametrizations.weight.original"
"""Where the trained tensor of a parametrized weight stands, below its layer."""


def zero_masks(model: nn.Module) -> dict[str, Tensor]:
    """Masks for `fit`: parameter name -> bool tensor of the weight's shape, False where it is exactly zero.

    Only Linear and convolution weights of which at least 1 % are zero count as pruned.
    """
    weights = {f"{name}.weight".lstrip("."): layer.weight.detach() for name, layer in model.named_modules() if isinstance(layer, WEIGHTED)}
    masks = {name: weight != 0 for name, weight in weights.items()}
    return {name: mask for name, mask in masks.items() if mask.logical_not().sum() >= SPARSE_FROM * mask.numel()}
