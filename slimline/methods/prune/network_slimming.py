"""Train with an L1 penalty on the scales of batch norms, and remove the channels whose scales are zero.

Liu et al. 2017, "Learning efficient convolutional networks through network slimming", arXiv:1708.06519; there by a subgradient and a
threshold, here by proximal steps that reach zero (l1_regularised.py has the formula; |w| are the scales here). As in group_lasso.py, a
channel bears the more of the penalty the weaker it is in its group: scales begin near 1, and under an equal penalty the channels of a
group stay or vanish together.
"""

import copy
import dataclasses
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slimline.data.batch import Batch
from slimline.errors import Impossible
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.prune.channel_groups import ChannelGroup, Slice
from slimline.methods.prune.channel_removal import without_reading
from slimline.methods.prune.channel_trial import same_outputs
from slimline.methods.prune.probe_inputs import reaching
from slimline.methods.prune.regularised import coupled_groups, free, train_on, weakness, without_silent
from slimline.params import NetworkSlimmingParams
from slimline.training.device import device_under


def network_slimming(model: nn.Module, config: NetworkSlimmingParams, *, data: MethodData) -> Edited:
    """Return a smaller copy in evaluation mode, without the channels that every batch norm on their way multiplies by zero.

    Where a scale is zero its bias is shrunk as well, so that little is lost with the channel. Coupled channels (a residual
    connection) go together, once the scales of all batch norms are zero; groups in which a layer has no batch norm, or that a layer
    reads before it, stay whole.

    Raises:
        StageError: no group has a batch norm behind each of its layers, or the trained model gives the same outputs for every sample.
    """
    if config.idle:
        return Edited(copy.deepcopy(model).eval())
    inputs = reaching(model, data.example)
    groups = [_needing_norms(model, group, inputs) for group in coupled_groups(model, data)]
    names = sorted({place.module for group in free(groups) for place in _norms(model, group)})
    if not names:
        raise Impossible("prune: network_slimming needs batch norms behind the layers; use group_lasso or hard_concrete")
    sizes = torch.cat([model.get_parameter(f"{name}.weight").detach().abs() for name in names])
    shrink = partial(_shrink_, groups=free(groups), amount=config.penalty * sizes.mean().item())
    trained, history = train_on(model, config.training, data, shrink=shrink)
    worth = {group.layer: _scales(trained, group) for group in free(groups)}
    made = without_silent(trained, groups, worth, round_to=config.round_to)
    return dataclasses.replace(made, history=history)


def _needing_norms(model: nn.Module, group: ChannelGroup, inputs: Batch) -> ChannelGroup:
    """The group, which stays whole unless its batch norms silence its channels: each has one, and nothing reads around it."""
    lacks = "a layer among them has no batch norm of its own" if len(_norms(model, group)) < len(group.layers) else ""
    if not group.why_whole and not lacks and _heard(model, group, inputs):
        lacks = "a layer reads them before their batch norm"
    return dataclasses.replace(group, why_whole=group.why_whole or lacks)


def _heard(model: nn.Module, group: ChannelGroup, inputs: Batch) -> bool:
    """Whether the first half of the group's channels still counts when all their batch norms give 0."""
    whole, silenced, half = copy.deepcopy(model).eval(), copy.deepcopy(model).eval(), range(group.channels // 2)
    with torch.no_grad():
        for place in _norms(model, group):
            gone = torch.isin(place.channel, torch.tensor(half))
            for tensor in ("weight", "bias"):
                silenced.get_parameter(f"{place.module}.{tensor}")[gone] = 0.0
        unread = without_reading(silenced, [group], {group.layer: half})
        return not same_outputs(unread(**inputs), silenced(**inputs), whole(**inputs))


def _norms(model: nn.Module, group: ChannelGroup) -> list[Slice]:
    """The scales of the batch norms that the group's channels run through."""
    return [place for place in group.slices if place.tensor == "weight" and isinstance(model.get_submodule(place.module), _BatchNorm)]


def _scales(model: nn.Module, group: ChannelGroup) -> Tensor:
    """The sum of |scale| of each channel over the group's batch norms, [channels]."""
    total = torch.zeros(group.channels, device=device_under(model))
    for place in _norms(model, group):
        mine = place.channel >= 0
        total.index_add_(0, place.channel[mine].to(total.device), model.get_parameter(place.name).detach()[mine].abs())
    return total


def _shrink_(model: nn.Module, share: float, *, groups: Sequence[ChannelGroup], amount: float) -> None:
    for group in groups:
        amounts = share * amount * weakness(_scales(model, group))
        steps = torch.cat([amounts, amounts.new_zeros(1)])  # index -1: not the group's
        for place in _norms(model, group):
            step = steps[place.channel]
            scale, bias = (model.get_parameter(f"{place.module}.{tensor}") for tensor in ("weight", "bias"))
            scale.copy_(_nearer_to_zero(scale, step))
            bias.copy_(torch.where(scale == 0, _nearer_to_zero(bias, step), bias))


def _nearer_to_zero(values: Tensor, step: Tensor) -> Tensor:
    """Soft thresholding by a step for each value."""
    return values.sign() * (values.abs() - step).clamp_min(0)
