"""Batch-norm folding: a batch norm that follows a convolution or Linear layer becomes part of its weights."""

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slimline.data.batch import Batch
from slimline.methods.quantize.dataflow import LINEAR, Dataflow, dataflow, operand, shape
from slimline.methods.quantize.plan import Layer


def fold_batchnorm(model: nn.Module, example: Batch) -> nn.Module:
    """A copy in evaluation mode that computes the same with fewer batch norms: nn.Identity stands where they were.

    With scale s = gamma / sqrt(variance + eps), weight' = s * weight and bias' = s * (bias - mean) + beta, in float64.
    Folded are those that alone read the output of a convolution, or of a Linear layer on [N, features], that runs once.
    Jacob et al. 2018, arXiv:1712.05877, section 3.2.

    Raises:
        StageError: torch.export cannot follow the model.
    """
    folded = copy.deepcopy(model).eval()
    if not any(isinstance(module, _BatchNorm) for module in folded.modules()):
        return folded
    for layer, norm in foldable(dataflow(folded, example)).items():
        _fold_(cast("Layer", folded.get_submodule(layer)), cast("_BatchNorm", folded.get_submodule(norm)))
        folded.set_submodule(norm, nn.Identity().eval(), strict=True)
    return folded


def foldable(flow: Dataflow) -> dict[str, str]:
    """Layer name -> name of the batch norm that alone reads its output along its channels."""
    pairs = {}
    for node, norm in flow.norms.items():
        source = operand(node, 0)
        if source is None or source not in flow.layers or len(source.users) != 1:
            continue
        if source.target is not LINEAR or len(shape(source)) == 2:
            pairs[flow.layers[source]] = norm
    return pairs


def _fold_(layer: Layer, norm: _BatchNorm) -> None:
    mean, variance = cast("Tensor", norm.running_mean).double(), cast("Tensor", norm.running_var).double()
    scale = (variance + norm.eps).rsqrt()
    shift = torch.zeros_like(mean)
    if norm.affine:
        scale, shift = scale * norm.weight.detach().double(), norm.bias.detach().double()
    bias = torch.zeros_like(mean) if layer.bias is None else layer.bias.detach().double()
    weight = layer.weight.detach().double() * scale.view(-1, *[1] * (layer.weight.dim() - 1))
    layer.weight = nn.Parameter(weight.to(layer.weight.dtype), requires_grad=layer.weight.requires_grad)
    layer.bias = nn.Parameter((scale * (bias - mean) + shift).to(layer.weight.dtype), requires_grad=layer.weight.requires_grad)
