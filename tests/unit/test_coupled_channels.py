"""Coupled channels are one unit: the asked share goes, what is left computes what the whole net does without them, or the layer stays."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.structure import replay, structure_edits
from slimline.errors import StageError
from slimline.methods.prune.channel_groups import ChannelGroup, channel_groups
from slimline.methods.prune.channel_layers import width_of
from slimline.methods.prune.channel_removal import remove_channels, without_reading
from slimline.methods.prune.channel_trial import Trial, removable_groups, tried_channels
from slimline.methods.prune.channels import channels
from slimline.methods.prune.group_lasso import channel_sizes, group_lasso
from slimline.methods.prune.hard_concrete import Gate, final_gates, gated, merged
from slimline.methods.prune.heads import heads
from slimline.methods.prune.network_slimming import network_slimming
from slimline.methods.prune.regularised import without_silent
from slimline.params import ChannelsParams, GroupLassoParams, HeadsParams, NetworkSlimmingParams
from tests.coupled_nets import CASES, coupled
from tests.coupled_networks import FREE, Build, swiglu
from tests.method_data import method_data

IMAGE = {"x": torch.zeros(2, 1, 4, 4)}
SAMPLES = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(5))
DATA = method_data(nn.Sequential(), {"x": SAMPLES}, torch.arange(24) % 3)
EXACT = [name for name in CASES if name not in ("chunk behind group norm", "chunk behind layer norm")]
"""A norm across channels answers to each channel that goes, so nothing is the same without it."""


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
        assert any(place.reads for place in group.slices)
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
    groups = removable_groups(net, {"x": torch.zeros(shape)})
    assert {group.layer: (group.channels, group.blocks) for group in groups if not group.why_whole} == FREE[build]
    if FREE[build]:
        data = method_data(net, torch.rand(24, *shape[1:]), torch.arange(24) % 3)
        made = channels(net, config(ratio=0.5), data=data)
        for layer, (count, places) in FREE[build].items():
            assert width_of(made.model.get_submodule(layer)) == count * places // 2 or count < 4
        torch.testing.assert_close(reloaded(made.model, net)(**data.calibration), made.model(**data.calibration))


class Supervised(nn.Module):
    """A head beside the net's own, of its first layer, that training alone runs (deep supervision)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.auxiliary, self.head = nn.Linear(16, 3), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.relu(self.first(x))
        logits: Tensor = self.head(torch.relu(self.second(first)).mean((2, 3)))
        return logits + self.auxiliary(first.mean((2, 3))) if self.training else logits


def test_what_a_layer_reads_in_training_alone_stays_whole() -> None:
    net = Supervised()
    reasons = {group.layer: group.why_whole for group in removable_groups(net, IMAGE)}
    assert reasons == {"first": "auxiliary, which runs in training alone, would not fit", "second": ""}
    made = channels(net, config(ratio=0.5), data=method_data(net, IMAGE["x"])).model.train()
    assert (made.first.out_channels, made.second.out_channels, made(IMAGE["x"]).shape) == (16, 8, (2, 3))


def test_a_source_in_training_mode_learns_nothing_from_the_trials() -> None:
    net = coupled("chunk behind batch norm").train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    channels(net, config(parameters=0.5), data=DATA)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.training


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
    assert Trial(net, [], {"x": SAMPLES}).problem([halves_as_if_free(name, net)])


def test_halves_that_lose_alike_would_pass() -> None:
    """Why the trial takes one-sided sets and chance: every fourth channel of both halves fits."""
    net = coupled("chunk")
    group = halves_as_if_free("chunk", net)
    trial = Trial(net, [], {"x": SAMPLES})
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


UNITS = ["chunk behind batch norm", "chunk behind depthwise", "glu", "lstm", "maxout", "crelu", "swapped", "pixel shuffle", "group mean"]


def without_every_other(name: str, groups: Sequence[ChannelGroup], made: nn.Module) -> None:
    """Every other unit of each group is gone, in all layers."""
    assert [len(made.get_submodule(group.layer).weight) for group in groups] == [group.channels * group.blocks // 2 for group in groups]
    assert (len(made.first.weight), made.second.in_channels) == (CASES[name].made // 2, CASES[name].read // 2)


@pytest.mark.parametrize("name", UNITS)
def test_channels_of_no_size_are_whole_units(name: str) -> None:
    net = coupled(name)
    groups = removable_groups(net, IMAGE)
    for group in groups:
        for place in group.slices:
            if place.tensor in ("weight", "bias"):
                lines = ((place.channel % 2 == 1) & (place.channel >= 0)).nonzero().flatten()
                net.get_parameter(place.name).data.index_fill_(place.dim, lines, 0.0)
    worth = {group.layer: channel_sizes(net, group) for group in groups}
    made = without_silent(net, groups, worth, round_to=1).model
    without_every_other(name, groups, made)
    torch.testing.assert_close(made(SAMPLES), net(SAMPLES))


@pytest.mark.parametrize("name", UNITS)
def test_a_shut_gate_takes_a_whole_unit(name: str) -> None:
    net = coupled(name)
    groups = removable_groups(net, IMAGE)
    student = gated(net, groups, speed=1.0)
    with torch.no_grad():
        for gate in [module for module in student.modules() if isinstance(module, Gate)]:
            gate.scaled[1::2] = -9.0
    gates = final_gates(student)
    made = without_silent(merged(student, net), groups, gates, round_to=1).model
    without_every_other(name, groups, made)
    torch.testing.assert_close(made(SAMPLES), student(SAMPLES))


def test_slimming_takes_units_of_which_every_scale_is_zero() -> None:
    net = coupled("chunk behind batch norm")
    with torch.no_grad():
        for key in ("weight", "bias"):
            net.norm.get_parameter(key)[:6] = 0.0
            net.norm.get_parameter(key)[16:20] = 0.0
    settings = {"penalty": 0.0001, "round_to": 1, "training": {"epochs": 1, "batch_size": 24, "learning_rate": 1e-6}}
    made = network_slimming(net, NetworkSlimmingParams(source="teacher", method="network_slimming", **settings), data=DATA)
    row = next(row for row in made.listings[0].rows if row[0] == "first")
    assert row[1:4] == (32, 24, 24), "four units lost both scales, two more only that of their value"


TRAINED = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01}


@pytest.mark.parametrize("name", ["chunk behind batch norm", "lstm", "crelu"])
def test_a_penalty_trains_units_to_zero(name: str) -> None:
    settings = {"source": "teacher", "method": "group_lasso", "penalty": 1.5, "round_to": 1, "training": TRAINED}
    made = group_lasso(coupled(name), GroupLassoParams(**settings), data=DATA).model
    case, left = CASES[name], len(made.first.weight)
    assert left % case.places == 0
    assert made.second.in_channels * case.made == case.read * left
    assert 0 < left < case.made


@pytest.mark.parametrize("name", ["chunk behind depthwise", "glu", "maxout"])
def test_slimming_asks_for_batch_norms_of_coupled_layers_too(name: str) -> None:
    with pytest.raises(StageError, match="needs batch norms behind the layers"):
        network_slimming(coupled(name), NetworkSlimmingParams(source="teacher", method="network_slimming"), data=DATA)


def test_hidden_neurons_behind_a_gate_are_those_of_channels() -> None:
    torch.manual_seed(0)
    net, shape = swiglu()
    data = method_data(net, torch.randn(24, *shape[1:]), torch.arange(24) % 3)
    made = heads(net, HeadsParams(source="teacher", method="heads", fraction=0.0, mlp_ratio=0.5, round_to=1), data=data)
    assert (made.model.both.out_features, made.model.down.in_features) == (24, 12)
