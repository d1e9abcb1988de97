"""Try each group of channels before anything is removed: a graph can hide where channels go (a channel shuffle, heads of attention)."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slimline.methods.output_change import output_change
from slimline.methods.prune.channel_graph import FAILURES, noise_like
from slimline.methods.prune.channel_groups import ChannelGroup, channel_groups, remove_channels, without_reading

TRIED = 4
"""One channel in so many is removed in the trial."""
TOLERANCE = 1e-3
ACROSS_CHANNELS = (nn.LayerNorm, nn.GroupNorm)


def removable_groups(model: nn.Module, example_input: Tensor) -> tuple[ChannelGroup, ...]:
    """The groups of `channel_groups`, `why_whole` also set where a trial fails: removing must be the same as not reading a channel.

    Where a layer norm or group norm stands in the group, only that the model still runs, to outputs of the same shape.
    """
    groups = channel_groups(model, example_input)
    inputs = noise_like(example_input)
    if not _problem(model, [group for group in groups if not group.why_whole], inputs):
        return groups
    return tuple(dataclasses.replace(group, why_whole=group.why_whole or _problem(model, [group], inputs)) for group in groups)


def _problem(model: nn.Module, groups: Sequence[ChannelGroup], inputs: Tensor) -> str:
    """What goes wrong when some channels of these groups are removed together; empty where nothing does."""
    removed = {group.layer: range(0, group.channels, TRIED) for group in groups}
    unread = {group.layer: range(0, group.channels, TRIED) for group in groups if not _normed_together(model, group)}
    with torch.no_grad():
        expected = without_reading(model, groups, unread)(inputs)
    try:
        with torch.enable_grad():
            smaller = remove_channels(model, groups, removed, inputs)
        with torch.no_grad():
            found = smaller(inputs)
            if len(unread) < len(removed) and found.shape == expected.shape:
                with torch.enable_grad():
                    smaller = remove_channels(model, groups, unread, inputs)
                found = smaller(inputs)
    except FAILURES as error:
        return f"the model does not run without some of its channels: {' '.join(str(error).split())[:120]}"
    if found.shape != expected.shape:
        return "the outputs would change their shape"
    return "channels that are removed are not those that the layers behind stop reading" if differ(found, expected) else ""


def differ(found: Tensor, expected: Tensor) -> bool:
    """Whether outputs are further from those expected than another order of the same sums brings them."""
    return output_change(found, expected) > TOLERANCE


def _normed_together(model: nn.Module, group: ChannelGroup) -> bool:
    return any(isinstance(model.get_submodule(place.module), ACROSS_CHANNELS) for place in group.slices)
