"""Coupled channels are one unit: the asked share goes, what is left computes what the whole net does without them, or the layer stays."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from slimline.artifact.structure import replay, structure_edits
from slimline.errors import StageError
from slimline.methods.prune.channel_groups import ChannelGroup, channel_groups
from slimline.methods.prune.channel_removal import remove_channels, without_reading
from slimline.methods.prune.channel_trial import Trial, removable_groups, tried_channels
from slimline.methods.prune.channels import channels
from slimline.methods.prune.group_lasso import group_lasso
from slimline.methods.prune.hard_concrete import hard_concrete
from slimline.methods.prune.heads import heads
from slimline.methods.prune.network_slimming import network_slimming
from slimline.params import ChannelsParams, GroupLassoParams, HardConcreteParams, HeadsParams, NetworkSlimmingParams
from tests.coupled_nets import CASES, coupled
from tests.coupled_networks import FREE, Build, swiglu
from tests.method_data import method_data

IMAGE = torch.zeros(2, 1, 4, 4)
SAMPLES = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(5))
DATA = method_data(SAMPLES, torch.arange(24) % 3)
EXACT = [name for name in CASES if name != "chunk behind group norm"]
"""A group norm answers to each channel that goes, so nothing is the same without it."""


def config(**more: object) -> ChannelsParams:
    return ChannelsParams(**{"source": "teacher", "method": "channels", "round_to": 1, **more})


def first_group(name: str) -> ChannelGroup:
    return next(group for group in removable_groups(coupled(name), IMAGE) if "first" in group.layers)


def reloaded(model: nn.Module, original: nn.Module) -> nn.Module:
    """What comes back from an artifact: the original's code, the edits replayed, the weights loaded strictly."""
    fresh = replay(original, structure_edits(original, model))
    fresh.load_state_dict(model.state_dict(), strict=True)
    return fresh.eval()


@pytest.mark.parametrize("name", CASES)
def test_channels_that_meet_are_one_unit_or_stay_with_the_reason(name: str) -> None:
    group, case = first_group(name), CASES[name]
    if case.places:
        assert (group.why_whole, group.blocks) == ("", case.places)
        assert sum(int((place.channel >= 0).sum()) for place in group.slices if place.name == "second.weight") == case.read
    else:
        assert group.why_whole


@pytest.mark.parametrize("ratio", [0.25, 0.5])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.places])
def test_the_asked_share_goes(name: str, ratio: float) -> None:
    net = coupled(name)
    made = channels(net, config(ratio=ratio), data=DATA)
    assert len(made.model.first.weight) == round((1 - ratio) * CASES[name].made)
    assert made.model.second.in_channels == round((1 - ratio) * CASES[name].read)
    assert len(made.model.second.weight) == round((1 - ratio) * 24)
    again = reloaded(made.model, net)
    torch.testing.assert_close(again(SAMPLES), made.model(SAMPLES))
    assert again(SAMPLES).shape == (24, 3)


@pytest.mark.parametrize("name", [name for name in EXACT if CASES[name].places])
def test_the_pruned_net_is_the_one_that_does_not_read_the_channels(name: str) -> None:
    net = coupled(name)
    groups = [group for group in removable_groups(net, IMAGE) if not group.why_whole]
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        removed = {one.layer: torch.randperm(one.channels, generator=generator)[: one.channels // 3].tolist() for one in groups}
        smaller = remove_channels(net, groups, removed)
        torch.testing.assert_close(smaller(SAMPLES), without_reading(net, groups, removed)(SAMPLES))
        assert len(smaller.first.weight) < len(net.first.weight)


@pytest.mark.parametrize("build", FREE, ids=lambda build: build.__name__)
def test_whole_nets_lose_what_they_can(build: Build) -> None:
    torch.manual_seed(0)
    net, shape = build()
    groups = removable_groups(net, torch.zeros(shape))
    assert {group.layer: (group.channels, group.blocks) for group in groups if not group.why_whole} == FREE[build]
    if FREE[build]:
        data = method_data(torch.randn(24, *shape[1:]), torch.arange(24) % 3)
        made = channels(net, config(ratio=0.5), data=data)
        for layer, (count, places) in FREE[build].items():
            assert len(made.model.get_submodule(layer).weight) == count * places // 2 or count < 4
        torch.testing.assert_close(reloaded(made.model, net)(data.train.inputs), made.model(data.train.inputs))


def halves_as_if_free(name: str, net: nn.Module) -> ChannelGroup:
    """What was taken for the truth: every output of the first layer is a channel of its own."""
    (group,) = [group for group in channel_groups(net, IMAGE) if group.layer == "first"]
    made = CASES[name].made
    free = [
        dataclasses.replace(place, channel=torch.arange(len(place.channel)) if place.reads else torch.arange(made))
        for place in group.slices
    ]
    return dataclasses.replace(group, channels=made, blocks=1, slices=tuple(free))


@pytest.mark.parametrize("name", ["chunk", "slices", "glu", "interleaved", "maxout", "maxout by halves", "lstm", "pixel shuffle"])
def test_symmetric_luck_does_not_pass_the_trial(name: str) -> None:
    net = coupled(name)
    assert Trial(net, [], SAMPLES).problem([halves_as_if_free(name, net)])


def test_halves_that_lose_alike_would_pass() -> None:
    """Why the trial takes one-sided sets and chance: every fourth channel of both halves fits."""
    net = coupled("chunk")
    group = halves_as_if_free("chunk", net)
    trial = Trial(net, [], SAMPLES)
    assert trial.without([group], {"first": range(0, 32, 4)}) == ""
    assert trial.without([group], {"first": range(8)})


@pytest.mark.parametrize("channels_there", [2, 3, 7, 32, 100])
def test_the_sets_of_a_trial_are_one_sided_and_by_chance(channels_there: int) -> None:
    *chance, first, last, every_fourth = tried_channels(channels_there, 0)
    some = max(1, channels_there // 4)
    assert (first, last) == (list(range(some)), list(range(channels_there - some, channels_there)))
    assert all(len(set(one)) == some and set(one) < set(range(channels_there)) for one in chance)
    assert every_fourth[0] == 0
    assert len(every_fourth) < channels_there


@pytest.mark.parametrize("share", [0.7, 0.5, 0.3])
@pytest.mark.parametrize("amount", ["parameters", "macs"])
@pytest.mark.parametrize("name", ["chunk", "chunk behind batch norm", "lstm", "crelu", "maxout", "pixel shuffle"])
def test_a_budget_is_met_by_what_is_coupled(name: str, amount: str, share: float) -> None:
    made = channels(coupled(name), config(**{amount: share}), data=DATA)
    assert 0.8 * share < made.details["left"][amount] <= share


def test_widths_are_multiples_for_the_layer_that_makes_values_and_gates() -> None:
    made = channels(coupled("chunk"), config(ratio=0.3, round_to=4), data=DATA).model
    assert (len(made.first.weight), made.second.in_channels) == (24, 12), "22.4 of 32, in multiples of 4"


TRAINING = {"epochs": 4, "batch_size": 8, "learning_rate": 0.01}


def regularised(name: str, method: str) -> Any:
    shared = {"source": "teacher", "method": method, "round_to": 1, "training": TRAINING}
    if method == "group_lasso":
        return group_lasso(coupled(name), GroupLassoParams(**shared, penalty=2.0), data=DATA)
    if method == "hard_concrete":
        return hard_concrete(coupled(name), HardConcreteParams(**shared, penalty=20.0, gate_learning_rate=1.0), data=DATA)
    return network_slimming(coupled(name), NetworkSlimmingParams(**shared, penalty=2.0), data=DATA)


@pytest.mark.parametrize("method", ["group_lasso", "hard_concrete", "network_slimming"])
@pytest.mark.parametrize("name", ["chunk behind batch norm", "chunk behind depthwise", "glu", "lstm", "maxout", "crelu", "swapped"])
def test_penalties_remove_the_same_units(name: str, method: str) -> None:
    if method == "network_slimming" and CASES[name].norm is not nn.BatchNorm2d:
        with pytest.raises(StageError, match="needs batch norms behind the layers"):
            regularised(name, method)
        return
    case, made = CASES[name], regularised(name, method)
    left, before = len(made.model.first.weight), case.made
    assert left % case.places == 0
    assert made.model.second.in_channels * before == case.read * left
    assert left < before
    assert made.model(SAMPLES).shape == (24, 3)


def test_hidden_neurons_behind_a_gate_are_those_of_channels() -> None:
    torch.manual_seed(0)
    net, shape = swiglu()
    data = method_data(torch.randn(24, *shape[1:]), torch.arange(24) % 3)
    made = heads(net, HeadsParams(source="teacher", method="heads", fraction=0.0, mlp_ratio=0.5, round_to=1), data=data)
    assert (made.model.both.out_features, made.model.down.in_features) == (24, 12)
