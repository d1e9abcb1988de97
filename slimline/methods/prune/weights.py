"""Pruning of single weights: which of them go, given a score for each, and the copy in which they are zero."""

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from slimline.errors import StageError
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.prune.allocation import allocated
from slimline.methods.prune.schedule import stepwise
from slimline.params.prune_unstructured import WeightsParams
from slimline.training.masks import WEIGHTED

Scores = Mapping[str, Tensor]
"""Module name -> what each of its weights is worth, of the weight's shape; the lowest go first."""
Weighted = nn.Linear | nn.Conv1d | nn.Conv2d
ROUNDING = 1e-6


def by_scores(model: nn.Module, config: WeightsParams, data: MethodData, scored: Callable[[nn.Module], Scores], *, final: float) -> Edited:
    """Zero the share `final` of all weights, round by round where the config says so, scored anew in each round.

    Raises:
        StageError: a layer would lose every weight; or `scope: sensitivity` and nothing measures it.
    """
    sensitivity = _sensitivity(data) if config.scope == "sensitivity" else {}

    def prune_to(current: nn.Module, amount: float) -> nn.Module:
        return zeroed(current, chosen(scored(current), amount, config, sensitivity), f"fraction {amount:g}")

    return stepwise(model, config, data, prune_to, final=final)


def weighted_layers(model: nn.Module) -> dict[str, Weighted]:
    """Module name -> layer, for every Linear layer and convolution; of layers that share one weight, the first."""
    found: dict[str, Weighted] = {}
    seen: list[Tensor] = []
    for name, layer in model.named_modules():
        if isinstance(layer, WEIGHTED) and not any(layer.weight is weight for weight in seen):
            seen.append(layer.weight)
            found[name] = layer
    return found


def chosen(scores: Scores, amount: float, config: WeightsParams, sensitivity: Mapping[str, float]) -> dict[str, Tensor]:
    """Module name -> bool tensor, True where a weight goes.

    local: the lowest `amount` of each layer; global: of the whole model, but for each layer's `floor`; sensitivity: of each layer
    as much as `allocated` says.
    """
    if config.scope == "global":
        return lowest_of_all(scores, amount, config.floor)
    if config.scope == "local":
        return {name: lowest(score, amount) for name, score in scores.items()}
    sizes = {name: score.numel() for name, score in scores.items()}
    shares = allocated(sizes, sensitivity, amount, floor=config.floor)
    counts = {name: min(round(share * sizes[name]), sizes[name] - 1) for name, share in shares.items()}
    return {name: lowest(score, counts[name] / sizes[name]) for name, score in scores.items()}


def lowest(scores: Tensor, fraction: float) -> Tensor:
    """A bool tensor of the same shape, True for the lowest-scoring `fraction` (rounded down; of equals, the first)."""
    flat = scores.flatten()
    count = int(fraction * flat.numel() + ROUNDING)
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    limit = flat.kthvalue(count).values
    below, equal = flat < limit, flat == limit
    first_equals = equal & (equal.cumsum(0) <= count - below.sum())
    return (below | first_equals).view(scores.shape)


def lowest_of_all(scores: Scores, fraction: float, floor: float = 0.0) -> dict[str, Tensor]:
    """For each tensor a bool one, True for the lowest-scoring `fraction` of all together; of each, the best `floor` stay."""
    if not scores:
        return {}
    fenced = {name: score.masked_fill(~lowest(score, 1 - floor), torch.inf) if floor else score for name, score in scores.items()}
    everything = lowest(torch.cat([score.flatten() for score in fenced.values()]), fraction)
    parts = torch.split(everything, [score.numel() for score in scores.values()])
    return {name: part.view(fenced[name].shape) & (fenced[name] != torch.inf) for name, part in zip(scores, parts, strict=True)}


def zeroed(model: nn.Module, dropped: Mapping[str, Tensor], amount: str) -> nn.Module:
    """A copy in which the weights of the named modules are zero where `dropped` is True.

    Raises:
        StageError: a layer would lose every weight; the message names it, and `amount`.
    """
    pruned = copy.deepcopy(model)
    layers = weighted_layers(pruned)
    for name, gone in dropped.items():
        if bool(gone.all()):
            raise StageError(f"prune: layer {name!r} would lose all its {gone.numel()} weights at {amount}; lower it, or set floor")
        with torch.no_grad():
            layers[name].weight.masked_fill_(gone, 0.0)
    return pruned


def _sensitivity(data: MethodData) -> Mapping[str, float]:
    if data.sensitivity is None:
        raise StageError("prune: scope: sensitivity needs the stage calibrate, which measures it; set scope: global or local")
    return data.sensitivity("prune")
