"""Torch-Pruning's dependency graph of a model, with what it lacks: how flattening moves channels, and which layers give the output.

Fang et al. 2023, "DepGraph: Towards any structural pruning" (arXiv 2301.12900).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch_pruning.dependency.index_mapping import _FlattenIndexMapping
from torch_pruning.dependency.node import Node

from slimline.errors import StageError

ROOTS = (nn.Conv1d, nn.Conv2d, nn.Linear)
FEATURES_LAST = (nn.Linear, nn.LayerNorm)
FAILURES = (RuntimeError, ValueError, IndexError, AssertionError)
"""What torch and Torch-Pruning raise where channels cannot be followed, or shapes do not fit."""
Indices = list[Any]
"""Torch-Pruning's pairs (index here, index at the root of the group)."""


def dependency_graph(model: nn.Module, example_input: Tensor) -> tp.DependencyGraph:
    """Trace `model`, which must be in evaluation mode with parameters that require gradients, on `example_input` [N, …].

    Raises:
        StageError: its forward cannot be traced with gradients.
    """
    graph = tp.DependencyGraph()
    try:
        graph.build_dependency(model, example_input, forward_fn=lambda traced, sample: traced(sample), verbose=False)
    except FAILURES as error:
        reason = " ".join(str(error).split())[:120]
        raise StageError(
            f"prune: the model's channels cannot be traced ({reason}); use a method that keeps shapes, as magnitude"
        ) from error
    # Torch-Pruning maps flattening only where no Linear layer sees three dimensions; the mappings below hold for any.
    graph._2d_4d = False
    for node in graph.module2node.values():
        if node.type == tp.ops.OPTYPE.RESHAPE:
            _map_flattening(node)
    return graph


def noise_like(example_input: Tensor) -> Tensor:
    """Noise of the same shape, always the same, which reaches every channel; the example itself where it holds indices."""
    if not example_input.is_floating_point():
        return example_input
    return torch.randn(example_input.shape, generator=torch.Generator().manual_seed(0), dtype=example_input.dtype)


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


@dataclass(frozen=True)
class _Interleaved:
    """Flattening with the features last, [N, T, D] -> [N, T x D]: feature d goes to d, D + d, 2 D + d, …"""

    features: int
    times: int
    reverse: bool

    def __call__(self, indices: Indices) -> Indices:
        if self.reverse:
            return list({index._replace(idx=index.idx % self.features) for index in indices})
        return [index._replace(idx=time * self.features + index.idx) for index in indices for time in range(self.times)]


def _map_flattening(node: Node) -> None:
    """Tell the dependencies of a view how its channels move; a view that flattens none moves none."""
    forward, backward = _flattening(node) or (None, None)
    for neighbour in (*node.inputs, *node.outputs):
        for source, target in ((neighbour, node), (node, neighbour)):
            for dependency in source.dependencies:
                if dependency.target is target and isinstance(dependency.index_mapping[0], _FlattenIndexMapping):
                    dependency.index_mapping[0] = None
    for producer in node.inputs if forward else ():
        for source, target, mapping in ((producer, node, forward), (node, producer, backward)):
            for dependency in source.dependencies:
                if dependency.target is target:
                    dependency.index_mapping[0] = mapping


def _flattening(node: Node) -> tuple[Any, Any] | None:
    """The mappings forward and backward of a view that makes one dimension of all but the first; None for any other view."""
    sizes = tuple(getattr(node.grad_fn, "_saved_self_sym_sizes", ()))
    reader = _nearest(node, "outputs")
    if len(sizes) < 3 or reader is None or _features(reader) != math.prod(sizes[1:]):
        return None
    producer = _nearest(node, "inputs")
    if _made(producer) == math.prod(sizes[1:]):
        return None  # heads of attention, joined again: the channels are those of the layer before
    if len(sizes) == 3 and isinstance(producer, FEATURES_LAST):
        return _Interleaved(sizes[2], sizes[1], reverse=False), _Interleaved(sizes[2], sizes[1], reverse=True)
    stride = math.prod(sizes[2:])
    return _FlattenIndexMapping(stride=stride), _FlattenIndexMapping(stride=stride, reverse=True)


def _nearest(node: Node, direction: str) -> nn.Module | None:
    """The first layer with a known number of features on the ways out of a node ("inputs" or "outputs")."""
    waiting, seen = list(getattr(node, direction)), set()
    while waiting:
        other = waiting.pop(0)
        if id(other) in seen:
            continue
        seen.add(id(other))
        if _features(other.module) is not None:
            found: nn.Module = other.module
            return found
        waiting.extend(getattr(other, direction))
    return None


def _made(module: object) -> int | None:
    """How many channels or features a layer gives."""
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, _ConvNd) else _features(module)


def _features(module: object) -> int | None:
    """How many channels or features a layer reads."""
    if isinstance(module, nn.Linear):
        return module.in_features
    if isinstance(module, _BatchNorm):
        return module.num_features
    if isinstance(module, _ConvNd):
        return module.in_channels
    return module.normalized_shape[-1] if isinstance(module, nn.LayerNorm) else None
