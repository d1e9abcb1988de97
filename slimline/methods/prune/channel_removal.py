"""A model without some of its channels, and one whose layers do not read them."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from slimline.methods.prune.channel_groups import WIDTH, ChannelGroup, Slice
from slimline.methods.prune.channel_layers import divisions, is_depthwise
from slimline.methods.transposed import is_transposed

Channels = Mapping[str, Sequence[int]]
"""A group's layer -> some of its channels."""


def remove_channels(model: nn.Module, groups: Sequence[ChannelGroup], removed: Channels) -> nn.Module:
    """Return a copy in evaluation mode without the channels `removed`: a group's `layer` -> which of its channels.

    `groups` are those of `model`; groups that `removed` does not name stay whole.
    """
    smaller = copy.deepcopy(model).eval().requires_grad_(True)
    remove_channels_(smaller, groups, removed)
    return smaller


def remove_channels_(model: nn.Module, groups: Sequence[ChannelGroup], removed: Channels) -> None:
    """Cut the channels `removed` out of the layers of `model` itself."""
    gone: dict[tuple[str, str, int], Tensor] = {}
    for group in groups:
        for place in group.slices if removed.get(group.layer) else ():
            key = (place.module, place.tensor, place.dim)
            gone[key] = gone.get(key, torch.tensor(False)) | _within(place, removed[group.layer])
    for name in dict.fromkeys(module for module, _, _ in gone):
        cuts = {(tensor, dim): (~lines).nonzero().flatten() for (module, tensor, dim), lines in gone.items() if module == name}
        _cut_(model.get_submodule(name), cuts)


def without_reading(model: nn.Module, groups: Sequence[ChannelGroup], channels: Channels) -> nn.Module:
    """A copy in evaluation mode whose layers have zeros where they read these channels: a group's `layer` -> which of its channels."""
    copied = copy.deepcopy(model).eval()
    for group in groups:
        for place in group.slices if group.layer in channels else ():
            if place.reads:
                with torch.no_grad():
                    unread = _within(place, channels[group.layer]).nonzero().flatten()
                    copied.get_parameter(place.name).index_fill_(place.dim, unread, 0.0)
    return copied


def _within(place: Slice, channels: Sequence[int]) -> Tensor:
    return torch.isin(place.channel, torch.tensor(list(channels), dtype=torch.long))


def _cut_(layer: Any, cuts: Mapping[tuple[str, int], Tensor]) -> None:
    """Keep these lines of a layer's tensors, and let its attributes say so."""
    multiple = layer.out_channels // layer.in_channels if is_depthwise(layer) else 0
    is_divided = divisions(layer) > 1
    for (tensor, dim), kept in cuts.items():
        if tensor != WIDTH:
            old = getattr(layer, tensor)
            new = old.detach().index_select(dim, kept)
            setattr(layer, tensor, nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new)
    width = len(cuts.get((WIDTH, 0), ()))
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif is_transposed(layer):
        layer.nx, layer.nf = layer.weight.shape
    elif isinstance(layer, _ConvNd):
        _resize_convolution_(layer, multiple)
    elif isinstance(layer, nn.Embedding):
        layer.embedding_dim = layer.weight.shape[1]
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(layer.weight)
    elif isinstance(layer, _BatchNorm | _InstanceNorm):
        layer.num_features = width
    elif isinstance(layer, nn.GroupNorm):
        layer.num_channels, layer.num_groups = width, layer.num_groups if is_divided else min(layer.num_groups, width)
    else:
        layer.normalized_shape = (width,)


def _resize_convolution_(layer: _ConvNd, multiple: int) -> None:
    """`multiple` is how many channels a depthwise one makes of each, 0 for others."""
    first, second = layer.weight.shape[:2]
    if multiple:
        layer.in_channels = layer.groups = first if layer.transposed else first // multiple
        layer.out_channels = layer.in_channels * multiple
    elif layer.transposed:
        layer.in_channels, layer.out_channels = first, second * layer.groups
    else:
        layer.in_channels, layer.out_channels = second * layer.groups, first
