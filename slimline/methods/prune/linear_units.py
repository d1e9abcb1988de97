"""Attention heads and hidden neurons as units of Linear layers: taken out, and tried before.

A unit is some rows of the layers that make it and some columns of the layers that read it (`Slice`s of a `ChannelGroup`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from slimline.data.batch import Batch
from slimline.methods.data import MethodData
from slimline.methods.prune.called_module import NAME, CalledModule, calls_of
from slimline.methods.prune.channel_groups import ChannelGroup, Slice
from slimline.methods.prune.channel_removal import without_reading
from slimline.methods.prune.channel_trial import removable_groups
from slimline.methods.prune.output_distance import output_distances
from slimline.methods.prune.probe_inputs import reaching
from slimline.methods.transposed import axis, is_linear


def hidden_neurons(model: nn.Module, example: Batch, others: frozenset[str]) -> tuple[ChannelGroup, ...]:
    """Neurons between linear layers, with only element-wise operations between them; layers named in `others` are left out.

    They are looked for in the smallest modules with two such layers, each run alone as the model runs it, and in the model as a whole
    where that leaves two layers: of a large language model only perceptrons are so followed, not all of its vocabulary.
    """
    layers = [name for name, module in model.named_modules() if is_linear(module) and name not in others]
    inputs = reaching(model, example)
    found: list[ChannelGroup] = []
    for name, call in calls_of(model, _innermost(layers), inputs).items():
        part = CalledModule(model.get_submodule(name), call)
        found += (_named(group, name) for group in _between(part, part.inputs, frozenset()) if not others & _modules(_named(group, name)))
    left = set(layers) - {layer for group in found for layer in _modules(group)}
    if len(left) > 1:
        found += _between(model, example, others | frozenset(layers) - left)
    return tuple(found)


def _between(model: nn.Module, example: Batch, others: frozenset[str]) -> tuple[ChannelGroup, ...]:
    groups = [group for group in removable_groups(model, example) if not group.why_whole and not others & _modules(group)]
    return tuple(group for group in groups if all(is_linear(model.get_submodule(name)) for name in _modules(group)))


def _innermost(layers: Sequence[str]) -> list[str]:
    """The modules, but not the model itself, that hold two or more of these layers and no module that does."""
    holding = Counter(".".join(parts[:size]) for parts in (layer.split(".") for layer in layers) for size in range(1, len(parts)))
    several = [name for name, count in holding.items() if count > 1]
    return [name for name in several if not any(other.startswith(f"{name}.") for other in several)]


def _named(group: ChannelGroup, name: str) -> ChannelGroup:
    """A group of a CalledModule by its layers' names in the model."""

    def whole(inside: str) -> str:
        return f"{name}{inside.removeprefix(NAME)}"

    slices = tuple(replace(one, module=whole(one.module)) for one in group.slices)
    return replace(group, layer=whole(group.layer), layers=tuple(map(whole, group.layers)), slices=slices)


def linear_slices(name: str, layer: nn.Module, unit: Tensor, *, reads: bool) -> tuple[Slice, ...]:
    """Where units stand in a linear layer: in its rows and bias, or in its columns where it reads them; `unit` names each one's."""
    weight = Slice(name, "weight", axis(layer, reads=reads), unit, reads)
    return (weight,) if reads or layer.bias is None else (weight, Slice(name, "bias", 0, unit, reads))


def output_changes(model: nn.Module, group: ChannelGroup, data: MethodData) -> Tensor:
    """How far the outputs on the calibration sample move, as the objective says it, when nothing reads a unit: float64 [units]."""
    unread = (without_reading(model, [group], {group.layer: [unit]}) for unit in range(group.channels))
    return torch.tensor(output_distances(model, unread, data), dtype=torch.float64)


def _modules(group: ChannelGroup) -> set[str]:
    return {place.module for place in group.slices}
