"""Which channels of which layers go together, as plain data by name, and their removal.

Torch-Pruning's dependency graph (channel_graph.py) finds the layers that must lose the same channels: both ends of a residual
connection, a depthwise convolution and those around it, a batch norm, the inputs of every layer that reads them. A group holds
names and indices alone, so that scores, penalties and gates can be computed on any model of the same shape.
"""

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from slimline.methods.prune.channel_graph import FAILURES, ROOTS, dependency_graph, output_layers
from slimline.methods.shared_weights import shared_weights

NORMS = (_BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.LayerNorm, nn.GroupNorm)
KNOWN = (_ConvNd, nn.Linear, nn.PReLU, nn.Embedding, *NORMS)


@dataclass(frozen=True)
class Slice:
    """Where the channels of a group stand in one tensor of one layer.

    Index i along dimension `dim` of `tensor` belongs to channel `channel[i]`, or to none of the group where that is -1 (another
    group's share of a concatenation). `reads` is True where the layer reads the channels, False where it makes or passes them.
    """

    module: str
    tensor: str
    dim: int
    channel: Tensor
    reads: bool

    @property
    def name(self) -> str:
        """The tensor's name in the model's state dict."""
        return f"{self.module}.{self.tensor}".lstrip(".")


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that go together. `layer` is where removal starts, `layers` are all Linear and convolution layers that make them.

    There are `channels` to choose from, each standing at the same place of `blocks` equal blocks (more than 1 where a grouped
    convolution or a group norm divides them). `why_whole` says why none of them can go; empty where they can.
    """

    layer: str
    layers: tuple[str, ...]
    channels: int
    blocks: int
    slices: tuple[Slice, ...]
    why_whole: str = ""

    def indices(self, channels: Sequence[int]) -> list[int]:
        """The indices of these channels in `layer`, in every block."""
        return sorted(block * self.channels + channel for block in range(self.blocks) for channel in channels)


def channel_groups(model: nn.Module, example_input: Tensor) -> tuple[ChannelGroup, ...]:
    """Every group of coupled channels but those of the model's output, in the order of the graph; `model` stays as it is.

    Raises:
        StageError: the model cannot be traced.
    """
    traced = copy.deepcopy(model).eval().requires_grad_(True)
    graph, shared = dependency_graph(traced, example_input), shared_weights(model)
    names = {module: name for name, module in traced.named_modules()}
    protected, seen, groups = set(output_layers(graph)), set(), []
    for layer in [module for module in graph.module2node if isinstance(module, ROOTS)]:
        if layer not in seen:
            found = _found(graph, layer)
            made = {layer} if found is None else {item.dep.target.module for item in found.items if _makes(graph, item)}
            seen |= made
            if not made & protected:
                groups.append(_group(found, names, graph) if found else _lost(names[layer], len(layer.weight)))
    return tuple(_whole_where_shared(group, shared) for group in groups)


def _whole_where_shared(group: ChannelGroup, shared: Mapping[str, str]) -> ChannelGroup:
    """The group, which stays whole where one of its tensors is another layer's too: cut here, it would be no longer."""
    tied = next((place.name for place in group.slices if place.name in shared), None)
    return dataclasses.replace(group, why_whole=group.why_whole or f"{tied} is shared with another layer") if tied else group


def remove_channels(
    model: nn.Module, groups: Sequence[ChannelGroup], removed: Mapping[str, Sequence[int]], example_input: Tensor
) -> nn.Module:
    """Return a copy in evaluation mode without the channels `removed`: a group's `layer` -> which of its channels.

    `groups` are those of `model` or of any model of the same shape; groups that `removed` does not name stay whole.
    """
    smaller = copy.deepcopy(model).eval().requires_grad_(True)
    graph = dependency_graph(smaller, example_input)
    for group in groups:
        if channels := removed.get(group.layer, ()):
            layer = smaller.get_submodule(group.layer)
            start = graph.get_pruner_of_module(layer).prune_out_channels
            graph.get_pruning_group(layer, start, group.indices(channels)).prune()
    return smaller


def without_reading(model: nn.Module, groups: Sequence[ChannelGroup], channels: Mapping[str, Sequence[int]]) -> nn.Module:
    """A copy in evaluation mode whose layers have zeros where they read these channels: a group's `layer` -> which of its channels."""
    copied = copy.deepcopy(model).eval()
    for group in groups:
        for place in group.slices if group.layer in channels else ():
            if place.reads:
                unread = torch.isin(place.channel, torch.tensor(list(channels[group.layer])))
                with torch.no_grad():
                    copied.get_parameter(place.name).index_fill_(place.dim, unread.nonzero().flatten(), 0.0)
    return copied


def _found(graph: tp.DependencyGraph, layer: nn.Module) -> Any:
    """Torch-Pruning's group of all channels that a layer makes; None where it cannot follow them."""
    pruner = graph.get_pruner_of_module(layer)
    try:
        return graph.get_pruning_group(layer, pruner.prune_out_channels, list(range(pruner.get_out_channels(layer))))
    except FAILURES:
        return None


def _makes(graph: tp.DependencyGraph, item: Any) -> bool:
    return bool(graph.is_out_channel_pruning_fn(item.dep.handler))


def _lost(layer: str, channels: int) -> ChannelGroup:
    return ChannelGroup(layer, (layer,), channels, 1, (), "its channels run through operations that cannot be followed")


def _group(found: Any, names: Mapping[nn.Module, str], graph: tp.DependencyGraph) -> ChannelGroup:
    root = found[0].dep.target.module
    blocks = math.lcm(*(_divisions(item.dep.target.module) for item in found.items))
    channels = graph.get_out_channels(root) // blocks
    slices: list[Slice] = []
    layers: dict[str, None] = {}
    why_whole = "" if channels > 1 else "it has a single channel to choose from"
    for item in found.items:
        module = item.dep.target.module
        if isinstance(module, KNOWN):
            reads = not _makes(graph, item)
            places = {index: origin % channels for index, origin in zip(item.idxs, item.root_idxs, strict=True)}
            slices += _slices(module, names[module], places, reads)
            layers |= {names[module]: None} if isinstance(module, ROOTS) and not reads else {}
            if _divisions(module) > 1 and len(places) < _width(module, reads):
                why_whole = f"{names[module]} divides it and other channels into groups"
        elif isinstance(module, nn.Parameter) or (isinstance(module, nn.Module) and next(module.parameters(), None) is not None):
            why_whole = f"its channels run through a {type(module).__name__}"
    return ChannelGroup(names[root], tuple(layers), channels, blocks, tuple(slices), why_whole)


def _divisions(module: object) -> int:
    """In how many equal blocks a grouped convolution or group norm divides its channels; depthwise ones divide nothing."""
    if isinstance(module, _ConvNd):
        return module.groups if module.groups < module.out_channels else 1
    return module.num_groups if isinstance(module, nn.GroupNorm) else 1


def _slices(module: nn.Module, name: str, places: Mapping[int, int], reads: bool) -> list[Slice]:
    """The tensors of a layer in which the channels stand; `places` is index among the layer's channels -> channel of the group."""
    tensors = ("weight",) if reads else ("weight", "bias", "running_mean", "running_var")
    found = []
    for tensor in tensors:
        if isinstance(value := getattr(module, tensor, None), Tensor):
            dim = _dimension(module, reads) if tensor == "weight" else value.dim() - 1
            channel = torch.tensor([places.get(index, -1) for index in range(value.shape[dim])])
            found.append(Slice(name, tensor, dim, channel, reads))
    return found


def _dimension(module: nn.Module, reads: bool) -> int:
    """Along which dimension of a layer's weight the channels that it reads or makes lie."""
    if isinstance(module, nn.Embedding):
        return 1
    return int(reads != (isinstance(module, _ConvNd) and module.transposed))


def _width(module: Any, reads: bool) -> int:
    """How many channels a layer reads or makes."""
    if isinstance(module, _ConvNd):
        return module.in_channels if reads else module.out_channels
    return module.num_channels if isinstance(module, nn.GroupNorm) else len(module.weight)
