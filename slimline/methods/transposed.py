"""GPT-2's linear layers, which transformers calls Conv1D: their weight lies [inputs, outputs], where that of nn.Linear lies the other way.

They are known by the name of their class, so that nobody needs transformers who has none of them.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

WRITTEN = ("transformers.pytorch_utils", "Conv1D")
OWN_PRODUCT = ("transformers.models.falcon.modeling_falcon", "FalconLinear")
"""An nn.Linear that writes its product out, by which no exporter knows it."""


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


def with_linear_layers(model: nn.Module) -> nn.Module:
    """The same net with such layers as nn.Linear, which is what plans and runtimes know: a copy, or the model itself where it has none.

    Falcon's own Linear is one as well. Outputs stay but for the last bits of a sum.
    """
    found = {name for name, layer in model.named_modules() if _is_foreign(layer)}
    if not found:
        return model
    twin = copy.deepcopy(model)
    for name in found:
        twin.set_submodule(name, _as_linear(twin.get_submodule(name)), strict=True)
    return twin


def _is_foreign(layer: object) -> bool:
    return is_transposed(layer) or (type(layer).__module__, type(layer).__qualname__) == OWN_PRODUCT


def _as_linear(layer: Any) -> nn.Linear:
    reads, makes = widths(layer)
    with torch.device("meta"):
        made = nn.Linear(reads, makes, bias=layer.bias is not None)
    turned = nn.Parameter(layer.weight.detach().T.contiguous(), requires_grad=layer.weight.requires_grad)
    made.weight = turned if is_transposed(layer) else layer.weight
    made.bias = layer.bias
    return made.train(layer.training)
