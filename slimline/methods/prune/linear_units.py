"""Attention heads and hidden neurons as units of Linear layers: taken out, and tried before.

A unit is some rows of the layers that make it and some columns of the layers that read it (`Slice`s of a `ChannelGroup`).
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from slimline.methods.fit import predict
from slimline.methods.output_change import output_change
from slimline.methods.prune.channel_graph import FAILURES, noise_like
from slimline.methods.prune.channel_groups import ChannelGroup, Slice, channel_groups, without_reading

TOLERANCE, ROUNDING = 1e-3, 1e-5


def hidden_neurons(model: nn.Module, example_input: Tensor, others: frozenset[str]) -> tuple[ChannelGroup, ...]:
    """Neurons between Linear layers, with only element-wise operations between them; layers named in `others` are left out."""
    inputs = noise_like(example_input)
    groups = [group for group in channel_groups(model, example_input) if not group.why_whole and not others & _modules(group)]
    linear = [group for group in groups if all(isinstance(model.get_submodule(name), nn.Linear) for name in _modules(group))]
    return tuple(
        group
        for group in linear
        if any(place.reads for place in group.slices)
        and removal_works(model, group, partial(remove_units_, group=group, removed=[0]), inputs)
    )


def linear_slices(name: str, layer: nn.Linear, unit: Tensor, *, reads: bool) -> tuple[Slice, ...]:
    """Where units stand in a Linear layer: in its rows and bias, or in its columns where it reads them; `unit` names each one's."""
    if reads:
        return (Slice(name, "weight", 1, unit, reads),)
    bias = () if layer.bias is None else (Slice(name, "bias", 0, unit, reads),)
    return (Slice(name, "weight", 0, unit, reads), *bias)


def remove_units_(model: nn.Module, group: ChannelGroup, removed: Sequence[int]) -> None:
    """Cut what makes and what reads these units out of the Linear layers of `model` itself."""
    for place in group.slices:
        layer = cast("nn.Linear", model.get_submodule(place.module))
        kept = torch.isin(place.channel, torch.tensor(list(removed)), invert=True).nonzero().flatten()
        old = layer.get_parameter(place.tensor)
        setattr(layer, place.tensor, nn.Parameter(old.detach().index_select(place.dim, kept), requires_grad=old.requires_grad))
        layer.out_features, layer.in_features = layer.weight.shape


def removal_works(model: nn.Module, group: ChannelGroup, remove_first_: Callable[[nn.Module], None], inputs: Tensor) -> bool:
    """Whether a model without its first unit gives what the whole one gives when nothing reads that unit."""
    whole, smaller, unread = copy.deepcopy(model).eval(), copy.deepcopy(model).eval(), without_reading(model, [group], {group.layer: [0]})
    remove_first_(smaller)
    with torch.no_grad():
        expected = unread(inputs)
        try:
            found = smaller(inputs)
        except FAILURES:
            return False
        allowed = TOLERANCE * (expected - whole(inputs)).norm() + ROUNDING * expected.norm()
    return found.shape == expected.shape and bool((found - expected).norm() <= allowed)


def output_changes(model: nn.Module, group: ChannelGroup, inputs: Tensor) -> Tensor:
    """How far the outputs on `inputs` [N, …] move when nothing reads a unit, as a share of their norm: float64 [units]."""
    reference = predict(model, inputs).double()
    unread = (without_reading(model, [group], {group.layer: [unit]}) for unit in range(group.channels))
    return torch.tensor([output_change(predict(one, inputs).double(), reference) for one in unread], dtype=torch.float64)


def _modules(group: ChannelGroup) -> set[str]:
    return {place.module for place in group.slices}
