"""What each channel of a group is worth: its weights, its batch norm's scale, the loss without it, or chance."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slimline.methods.data import MethodData
from slimline.methods.prune.channel_groups import ChannelGroup, Slice
from slimline.methods.prune.gradients import batch_gradients, drawn
from slimline.methods.prune.lamp import lamp_scores
from slimline.params import ChannelsParams

Scores = dict[str, Tensor]
"""A group's layer -> one float64 figure for each of its channels, the higher the better."""
TINY = torch.finfo(torch.float64).tiny


def channel_scores(model: nn.Module, groups: Sequence[ChannelGroup], config: ChannelsParams, data: MethodData) -> Scores:
    """Scores of each group's channels, with mean 1 in each group; of `lamp` with 1 for a group's best.

    l1, l2: the sum of |w| or w² of a channel, over everything that makes, norms or reads it, averaged over these tensors as in Fang
    et al. 2023 (arXiv 2301.12900). batchnorm_scale: |gamma|, Liu et al. 2017, "Network slimming" (arXiv 1708.06519); l2 for a group
    without a batch norm. taylor: see `taylor_scores`. lamp: see `lamp_scores`. random: chance, by `data.seed`.
    """
    if config.criterion == "taylor":
        return {name: _normalised(scores) for name, scores in taylor_scores(model, groups, data, config.samples).items()}
    weights = dict(model.state_dict())
    generator = torch.Generator().manual_seed(data.seed)
    score: dict[str, Callable[[ChannelGroup], Tensor]] = {
        "l1": lambda group: _normalised(_magnitudes(group, weights, 1)),
        "l2": lambda group: _normalised(_magnitudes(group, weights, 2)),
        "batchnorm_scale": lambda group: _normalised(_batchnorm_scales(model, group, weights)),
        "lamp": lambda group: lamp_scores(_magnitudes(group, weights, 2)),
        "random": lambda group: _normalised(torch.rand(group.channels, generator=generator, dtype=torch.float64)),
    }
    return {group.layer: score[config.criterion](group) for group in groups}


def magnitude_scores(model: nn.Module, groups: Sequence[ChannelGroup]) -> Scores:
    """Those of `l2`, which need no data."""
    weights = dict(model.state_dict())
    return {group.layer: _normalised(_magnitudes(group, weights, 2)) for group in groups}


def per_channel(values: Tensor, place: Slice, channels: int) -> Tensor:
    """The sum of `values`, which has the shape of the slice's tensor, over each channel of the group: float64 [channels]."""
    lines = values.detach().double().movedim(place.dim, 0).reshape(values.shape[place.dim], -1).sum(1)
    mine = place.channel >= 0
    return torch.zeros(channels, dtype=torch.float64).index_add(0, place.channel[mine], lines[mine])


def taylor_scores(model: nn.Module, groups: Sequence[ChannelGroup], data: MethodData, samples: int) -> Scores:
    """The squared change of the loss when a channel goes, to first order, averaged over batches of training samples.

    Molchanov et al. 2019, "Importance estimation for neural network pruning" (arXiv 1906.10771), with a gate at what the channel's
    readers get: its gradient is the sum of w ∂L/∂w over all weights that read the channel.
    """
    weights, total = dict(model.named_parameters()), {group.layer: torch.zeros(group.channels, dtype=torch.float64) for group in groups}
    for gradients, share in batch_gradients(model, data, drawn(data.train, samples, data.seed)):
        for group in groups:
            readers = [place for place in group.slices if place.reads]
            parts = [per_channel(weights[place.name] * gradients[place.name], place, group.channels) for place in readers]
            total[group.layer] += share * torch.stack(parts).sum(0).square()
    return total


def _magnitudes(group: ChannelGroup, weights: Mapping[str, Tensor], power: int) -> Tensor:
    places = [place for place in group.slices if place.tensor == "weight"]
    return torch.stack([per_channel(weights[place.name].abs() ** power, place, group.channels) for place in places]).mean(0)


def _batchnorm_scales(model: nn.Module, group: ChannelGroup, weights: Mapping[str, Tensor]) -> Tensor:
    norms = [place for place in group.slices if place.tensor == "weight" and isinstance(model.get_submodule(place.module), _BatchNorm)]
    if not norms:
        return _magnitudes(group, weights, 2)
    return torch.stack([per_channel(weights[place.name].abs(), place, group.channels) for place in norms]).mean(0)


def _normalised(scores: Tensor) -> Tensor:
    return scores / scores.mean().clamp_min(TINY)
