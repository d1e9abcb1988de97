"""How many channels of each group stay, and which."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from slimline.errors import StageError
from slimline.methods.prune.allocation import allocated
from slimline.methods.prune.channel_groups import ChannelGroup
from slimline.params import ChannelsParams

Counts = dict[str, int]
"""A group's layer -> a number of channels."""


def kept_counts(
    scores: Mapping[str, Tensor], groups: Sequence[ChannelGroup], config: ChannelsParams, amount: float, sensitivity: Mapping[str, float]
) -> Counts:
    """How many channels of each group stay when `amount` (a ratio, or a threshold where the config gives one) is asked for.

    `scores` are those of the channels that there are now; `groups` tells how many there were at first, of which `amount` is a share;
    `sensitivity` is that of each group. What stays is rounded to the nearest multiple of `round_to`, is never less than `floor` of the
    whole, nor nothing; a group of fewer channels than `round_to` stays whole. Of a grouped convolution's channels two of each block
    stay: with one it would be a depthwise one.

    Raises:
        StageError: a threshold takes every channel of a layer, and there is no floor.
    """
    whole = {group.layer: group.channels for group in groups}
    least = {group.layer: max(group.fewest, math.ceil(config.floor * group.channels - 1e-9)) for group in groups}
    multiples = {group.layer: multiple(group, config.round_to) for group in groups}
    wanted = _wanted(scores, whole, config, amount, sensitivity, least)
    return {name: _rounded(wanted[name], least[name], len(score), multiples[name]) for name, score in scores.items()}


def multiple(group: ChannelGroup, round_to: int) -> int:
    """Of how many channels of a group a multiple stays, so that the width of its `layer` is a multiple of `round_to`."""
    return round_to // math.gcd(round_to, group.blocks)


def weakest(scores: Mapping[str, Tensor], kept: Mapping[str, int]) -> dict[str, list[int]]:
    """The channels of each group that go when so many stay: those of the lowest scores, of equals the first."""
    return {name: sorted(torch.argsort(score, stable=True)[: len(score) - kept[name]].tolist()) for name, score in scores.items()}


def _wanted(
    scores: Mapping[str, Tensor],
    whole: Mapping[str, int],
    config: ChannelsParams,
    amount: float,
    sensitivity: Mapping[str, float],
    least: Counts,
) -> Mapping[str, float]:
    """The number of channels that stay, before rounding."""
    if config.threshold is not None:
        return _above(scores, amount, config.floor)
    if config.scope == "local":
        return {name: (1 - amount) * whole[name] for name in scores}
    if config.scope == "sensitivity":
        shares = allocated({name: whole[name] for name in scores}, sensitivity, min(amount, 1 - config.floor), floor=config.floor)
        return {name: (1 - share) * whole[name] for name, share in shares.items()}
    return _ranked(scores, int(amount * sum(whole[name] for name in scores)), whole, least)


def _above(scores: Mapping[str, Tensor], threshold: float, floor: float) -> Counts:
    """How many score the threshold or more; as with single weights, a layer that loses all needs a floor to be let through."""
    counts = {name: int((score >= threshold).sum()) for name, score in scores.items()}
    if not floor and (lost := [name for name, count in counts.items() if count == 0]):
        highest = max(float(score.max()) for score in scores.values())
        raise StageError(
            f"prune: channels: threshold {threshold:g} takes all channels of {', '.join(lost)} "
            f"(the highest score of all is {highest:.3g}); lower it, or set floor"
        )
    return counts


def _ranked(scores: Mapping[str, Tensor], removed: int, whole: Mapping[str, int], least: Counts) -> Counts:
    """What is left of each group when the lowest of all go, so that `removed` are gone of the whole; `least` of each group stay."""
    removed -= sum(whole[name] - len(score) for name, score in scores.items())
    exposed = {name: score.sort().values[: max(0, len(score) - least[name])] for name, score in scores.items()}
    places = torch.cat([torch.full((len(score),), place) for place, score in enumerate(exposed.values())])
    lowest = torch.argsort(torch.cat(list(exposed.values())), stable=True)[: max(0, removed)]
    gone = torch.bincount(places[lowest], minlength=len(exposed)).tolist()
    return {name: len(score) - count for (name, score), count in zip(scores.items(), gone, strict=True)}


def _rounded(wanted: float, least: int, available: int, multiple: int) -> int:
    return min(available, max(1, int(wanted / multiple + 0.5), math.ceil(least / multiple)) * multiple)
