"""Train with a penalty on the norm of each channel, over all layers that share it, and remove the channels that are zero.

Yuan and Lin 2006, "Model selection and estimation in regression with grouped variables"; for nets Wen et al. 2016, arXiv:1608.03665;
over the coupled layers of a dependency graph Fang et al. 2023, arXiv:2301.12900. By proximal steps after AdamW's: with w all n
entries that belong to one channel (rows and columns of weights, biases, scales of norms) and r their root mean square,

    w <- w max(1 - t / r, 0),  t = penalty x mean r of the source's group x this step's share of all learning rates x weakness
    weakness = 2^(-4 (r - r_min) / (r_max - r_min)):  1 for the weakest channel of the group, 1/16 for the strongest

Without that factor (Fang et al., 3.3) the channels of a group, being about equal, all reach zero at about the same step.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.prune.channel_groups import ChannelGroup, Slice
from slimline.methods.prune.regularised import coupled_groups, free, train_on, weakness, without_silent
from slimline.params import GroupLassoParams
from slimline.training.device import device_under

TRAINED = ("weight", "bias")


def group_lasso(model: nn.Module, config: GroupLassoParams, *, data: MethodData) -> Edited:
    """Return a smaller copy in evaluation mode, without the channels that the penalty shrank to exactly zero.

    A weight stands in two groups, that of the channel it makes and that of the channel it reads, and is shrunk by both, one after
    the other. Removal leaves the outputs as they are but where a layer norm or group norm counted the zeros.

    Raises:
        StageError: no channels can be removed, or the trained model gives the same outputs for every sample.
    """
    if config.idle:
        return Edited(copy.deepcopy(model).eval())
    groups = coupled_groups(model, data)
    amounts = {group.layer: config.penalty * channel_sizes(model, group).mean().item() for group in free(groups)}
    trained, history = train_on(model, config.training, data, shrink=partial(_shrink_, groups=free(groups), amounts=amounts))
    worth = {group.layer: channel_sizes(trained, group) for group in free(groups)}
    made = without_silent(trained, groups, worth, round_to=config.round_to)
    return dataclasses.replace(made, history=history)


def channel_sizes(model: nn.Module, group: ChannelGroup) -> Tensor:
    """The root mean square of all entries that belong to a channel, [channels]."""
    device = device_under(model)
    squares, entries = torch.zeros(2, group.channels, device=device)
    for place in _trained_places(group):
        values = model.get_parameter(place.name).detach().square()
        rows = values.movedim(place.dim, 0).flatten(1) if values.dim() > 1 else values[:, None]
        mine = place.channel >= 0
        channels = place.channel[mine].to(device)
        squares.index_add_(0, channels, rows[mine].sum(1))
        entries.index_add_(0, channels, torch.full((len(channels),), float(rows.shape[1]), device=device))
    sizes: Tensor = (squares / entries).sqrt()
    return sizes


def _shrink_(model: nn.Module, share: float, *, groups: Sequence[ChannelGroup], amounts: Mapping[str, float]) -> None:
    for group in groups:
        size = channel_sizes(model, group)
        factor = (1 - share * amounts[group.layer] * weakness(size) / size).clamp_min(0).nan_to_num(0.0)
        with_others = torch.cat([factor, factor.new_ones(1)])  # index -1: channels that are not the group's
        for place in _trained_places(group):
            values = model.get_parameter(place.name)
            shape = [-1 if dim == place.dim else 1 for dim in range(values.dim())]
            values.mul_(with_others[place.channel].view(shape))


def _trained_places(group: ChannelGroup) -> list[Slice]:
    return [place for place in group.slices if place.tensor in TRAINED]
