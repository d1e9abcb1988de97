"""Which weights are zero, so that later training can keep them so."""

from torch import Tensor, nn

SPARSE_FROM = 0.01
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
ORIGINAL = "parametrizations.weight.original"
"""Where the trained tensor of a parametrized weight stands, below its layer."""


def zero_masks(model: nn.Module, before: nn.Module | None = None) -> dict[str, Tensor]:
    """Masks for `fit`: parameter name -> bool tensor of the weight's shape, False where it is exactly zero.

    Linear and convolution weights count as pruned where at least 1 % are zero, or where any is that was not in the same tensor of
    `before`, the model before it was pruned.
    """
    weights, old = _weights(model), _weights(before) if before is not None else {}
    masks = {name: weight != 0 for name, weight in weights.items()}
    return {name: mask for name, mask in masks.items() if _pruned(mask, old.get(name))}


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.weight".lstrip("."): layer.weight.detach() for name, layer in model.named_modules() if isinstance(layer, WEIGHTED)}


def _pruned(mask: Tensor, before: Tensor | None) -> bool:
    gone = mask.logical_not()
    newly = before is not None and before.shape == mask.shape and bool((gone & (before != 0)).any())
    return newly or bool(gone.sum() >= SPARSE_FROM * mask.numel())
