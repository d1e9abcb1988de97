"""GPT-2's linear layers, which transformers calls Conv1D: their weight lies [inputs, outputs], where that of nn.Linear lies the other way.

They are known by the name of their class, so that nobody needs transformers who has none of them.
"""

from typing import Any

from torch import Tensor, nn

WRITTEN = ("transformers.pytorch_utils", "Conv1D")


def is_transposed(layer: object) -> bool:
    """Whether a layer is such a one."""
    return (type(layer).__module__, type(layer).__qualname__) == WRITTEN


def is_linear(layer: object) -> bool:
    """Whether a layer multiplies by a matrix, whichever way it lies."""
    return isinstance(layer, nn.Linear) or is_transposed(layer)


def widths(layer: Any) -> tuple[int, int]:
    """How many features such a layer reads, and how many it makes."""
    return (layer.nx, layer.nf) if is_transposed(layer) else (layer.in_features, layer.out_features)


def axis(layer: object, *, reads: bool) -> int:
    """Along which dimension of its weight lie the features that it reads, or makes."""
    return int(reads != is_transposed(layer))


def matrix(layer: Any) -> Tensor:
    """The weight as [outputs, inputs]."""
    weight: Tensor = layer.weight.detach()
    return weight.T if is_transposed(layer) else weight
