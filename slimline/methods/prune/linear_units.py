"""Attention heads and hidden neurons as units of Linear layers: taken out, and tried before.

A unit is some rows of the layers that make it and some columns of the layers that read it (`Slice`s of a `ChannelGroup`).
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from slimline.data.batch import Batch
from slimline.methods.data import MethodData
from slimline.methods.prune.channel_flow import FAILURES
from slimline.methods.prune.channel_groups import ChannelGroup, Slice
from slimline.methods.prune.channel_removal import without_reading
from slimline.methods.prune.channel_trial import removable_groups, same_outputs, tried_channels
from slimline.training.fit import predict


def hidden_neurons(model: nn.Module, example: Batch, others: frozenset[str]) -> tuple[ChannelGroup, ...]:
    """Neurons between Linear layers, with only element-wise operations between them; layers named in `others` are left out."""
    groups = [group for group in removable_groups(model, example) if not group.why_whole and not others & _modules(group)]
    return tuple(group for group in groups if all(isinstance(model.get_submodule(name), nn.Linear) for name in _modules(group)))


def linear_slices(name: str, layer: nn.Linear, unit: Tensor, *, reads: bool) -> tuple[Slice, ...]:
    """Where units stand in a Linear layer: in its rows and bias, or in its columns where it reads them; `unit` names each one's."""
    if reads:
        return (Slice(name, "weight", 1, unit, reads),)
    bias = () if layer.bias is None else (Slice(name, "bias", 0, unit, reads),)
    return (Slice(name, "weight", 0, unit, reads), *bias)


def removal_works(model: nn.Module, group: ChannelGroup, remove_: Callable[[nn.Module, Sequence[int]], None], inputs: Batch) -> bool:
    """Whether a model without some of its units gives what the whole one gives when nothing reads these units."""
    whole = copy.deepcopy(model).eval()
    for removed in tried_channels(group.channels, 0):
        smaller, unread = copy.deepcopy(model).eval(), without_reading(model, [group], {group.layer: removed})
        remove_(smaller, removed)
        with torch.no_grad():
            try:
                found = smaller(**inputs)
            except FAILURES:
                return False
            if not same_outputs(found, unread(**inputs), whole(**inputs)):
                return False
    return True


def output_changes(model: nn.Module, group: ChannelGroup, data: MethodData) -> Tensor:
    """How far the outputs on the calibration sample move, as the objective says it, when nothing reads a unit: float64 [units]."""
    reference = predict(model, data.calibration)
    unread = (without_reading(model, [group], {group.layer: [unit]}) for unit in range(group.channels))
    return torch.tensor([data.objective.distance(reference, predict(one, data.calibration)) for one in unread], dtype=torch.float64)


def _modules(group: ChannelGroup) -> set[str]:
    return {place.module for place in group.slices}
