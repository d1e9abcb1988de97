"""Remove whole channels and neurons along the dependency graph, so that shapes shrink and residuals still fit.

Fang et al. 2023, "DepGraph: Towards any structural pruning" (arXiv 2301.12900), by Torch-Pruning: its graph says which
layers must lose the same channels, its group importance says which channels; how many is decided here.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from slimline.errors import StageError
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.params import ChannelsParams

ROOTS = (nn.Conv1d, nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class _Group:
    """Layers that share channels: where pruning starts, and a score for each channel of one of `blocks` equal blocks."""

    layer: nn.Module
    prune: Callable[..., Any]
    scores: Tensor
    blocks: int


def channels(model: nn.Module, config: ChannelsParams, *, data: MethodData) -> Edited:
    """Return a smaller copy in evaluation mode: each group of coupled layers keeps about `1 - ratio` of its channels.

    The number kept is rounded to the nearest multiple of `round_to`, at least one; a group of fewer channels stays.
    `scope: global` ranks the channels of all groups together, each group's scores divided by their mean. The layers that
    give the model's output are protected. `data.seed` decides for `criterion: random` alone.

    Raises:
        StageError: the pruned model no longer gives an output of the same shape.
    """
    pruned = copy.deepcopy(model).eval().requires_grad_(True)
    if config.idle:
        return Edited(pruned)
    example_input = data.example_input
    shape = _output_shape(pruned, example_input)
    graph = tp.DependencyGraph().build_dependency(pruned, example_input)
    groups = _scored_groups(graph, config.criterion, data.seed)
    for group, kept in zip(groups, _kept_counts([group.scores for group in groups], config), strict=True):
        indices = _indices(group, kept)
        if indices:
            graph.get_pruning_group(group.layer, group.prune, indices).prune()
    if (found := _output_shape(pruned, example_input)) != shape:
        raise StageError(f"prune: channels gave a model with outputs of shape {found}, was {shape}; this architecture cannot be pruned so")
    return Edited(pruned)


def output_layers(graph: tp.DependencyGraph) -> list[nn.Module]:
    """The last layers with weights on every way to the model's output: their channels are the output's own."""
    found: list[nn.Module] = []
    waiting = [node for node in graph.module2node.values() if not node.outputs]
    seen = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node.module, ROOTS):
            found.append(node.module)
        else:
            waiting.extend(node.inputs)
    return found


def _scored_groups(graph: tp.DependencyGraph, criterion: str, seed: int) -> list[_Group]:
    importance = (
        tp.importance.RandomImportance()
        if criterion == "random"
        else tp.importance.GroupMagnitudeImportance(p=1 if criterion == "l1" else 2)
    )
    groups = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for group in graph.get_all_groups(ignored_layers=output_layers(graph), root_module_types=list(ROOTS)):
            scores = importance(group)
            if scores is not None:
                blocks = _blocks(group)
                root = group[0].dep
                groups.append(_Group(root.target.module, root.handler, scores.view(blocks, -1).mean(0), blocks))
    return groups


def _blocks(group: Any) -> int:
    """In how many equal blocks a grouped convolution divides the channels; depthwise ones divide nothing."""
    counts = [1]
    for dependency, _ in group:
        layer = dependency.target.module
        if isinstance(layer, nn.Conv1d | nn.Conv2d) and 1 < layer.groups < layer.out_channels:
            counts.append(layer.groups)
        elif isinstance(layer, nn.GroupNorm):
            counts.append(layer.num_groups)
    return max(counts)


def _kept_counts(scores: Sequence[Tensor], config: ChannelsParams) -> list[int]:
    if config.scope == "local" or not scores:
        return [_rounded(len(score) * (1 - config.ratio), len(score), config.round_to) for score in scores]
    ordered = torch.cat(list(scores)).sort().values
    threshold = ordered[min(int(config.ratio * len(ordered)), len(ordered) - 1)]
    return [_rounded(int((score >= threshold).sum()), len(score), config.round_to) for score in scores]


def _rounded(wanted: float, available: int, multiple: int) -> int:
    return min(available, max(1, int(wanted / multiple + 0.5)) * multiple)


def _indices(group: _Group, kept: int) -> list[int]:
    count = len(group.scores)
    worst = torch.argsort(group.scores, stable=True)[: count - kept].tolist()
    return sorted(block * count + index for block in range(group.blocks) for index in worst)


def _output_shape(model: nn.Module, example_input: Tensor) -> tuple[int, ...]:
    with torch.no_grad():
        return tuple(model(example_input).shape)
