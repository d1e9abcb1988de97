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
from slimline.methods.prune.channel_groups import ChannelGroup, Slice, channel_groups

TOLERANCE, ROUNDING = 1e-3, 1e-5
FAILURES = (RuntimeError, ValueError, AssertionError)
"""What torch and a model's own checks raise where shapes do not fit."""


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
    whole, smaller, unread = copy.deepcopy(model).eval(), copy.deepcopy(model).eval(), _unread(model, group, 0)
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
    changes = [(predict(_unread(model, group, unit), inputs).double() - reference).norm() for unit in range(group.channels)]
    shares: Tensor = torch.stack(changes) / reference.norm().clamp_min(torch.finfo(torch.float32).tiny)
    return shares


def noise_like(example_input: Tensor) -> Tensor:
    """Noise of the same shape, always the same, which reaches every unit; the example itself where it holds indices."""
    if not example_input.is_floating_point():
        return example_input
    return torch.randn(example_input.shape, generator=torch.Generator().manual_seed(0), dtype=example_input.dtype)


def _unread(model: nn.Module, group: ChannelGroup, unit: int) -> nn.Module:
    """A copy in evaluation mode in which nothing reads a unit."""
    copied = copy.deepcopy(model).eval()
    with torch.no_grad():
        for place in group.slices:
            if place.reads:
                copied.get_parameter(place.name).index_fill_(place.dim, (place.channel == unit).nonzero().flatten(), 0.0)
    return copied


def _modules(group: ChannelGroup) -> set[str]:
    return {place.module for place in group.slices}
