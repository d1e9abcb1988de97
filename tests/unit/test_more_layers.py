"""Channels of every kind of layer that makes, norms or passes them: removed is the same as unread, and the result is stored and loaded."""

import pytest
import torch
from torch import nn

from slimline.artifact.structure import replay, structure_edits
from slimline.data.batch import take
from slimline.methods.prune.channel_layers import width_of
from slimline.methods.prune.channel_removal import remove_channels, without_reading
from slimline.methods.prune.channel_trial import removable_groups
from slimline.methods.prune.channels import channels
from slimline.methods.prune.group_lasso import channel_sizes
from slimline.methods.prune.hard_concrete import Gate, final_gates, gated, merged
from slimline.methods.prune.regularised import without_silent
from slimline.params import ChannelsParams
from tests.method_data import method_data
from tests.more_layers import MORE, net_of

every_net = pytest.mark.parametrize("name", MORE)


def reloaded(model: nn.Module, name: str) -> nn.Module:
    fresh = replay(net_of(name), structure_edits(net_of(name), model))
    fresh.load_state_dict(model.state_dict(), strict=True)
    return fresh.eval()


@every_net
def test_the_groups_are_those_that_can_be_chosen_from(name: str) -> None:
    groups = removable_groups(net_of(name), take(MORE[name].inputs(), slice(0, 2)))
    assert {group.layer: (group.channels, group.blocks) for group in groups if not group.why_whole} == MORE[name].free


@every_net
def test_removed_is_unread_and_comes_back_from_the_store(name: str) -> None:
    net, inputs = net_of(name), MORE[name].inputs()
    groups = [group for group in removable_groups(net, take(inputs, slice(0, 2))) if not group.why_whole]
    removed = {group.layer: list(range(0, group.channels, 3)) for group in groups}
    smaller = remove_channels(net, groups, removed)
    if MORE[name].exact:
        torch.testing.assert_close(smaller(**inputs), without_reading(net, groups, removed)(**inputs))
    again = reloaded(smaller, name)
    assert torch.equal(again(**inputs), smaller(**inputs))
    assert [str(layer) for layer in again.modules()] == [str(layer) for layer in smaller.modules()], "attributes say what there is"


@every_net
@pytest.mark.parametrize("criterion", ["l2", "taylor"])
def test_the_asked_share_goes(name: str, criterion: str) -> None:
    net, inputs = net_of(name), MORE[name].inputs()
    config = ChannelsParams(source="teacher", method="channels", ratio=0.5, round_to=1, criterion=criterion)
    targets = torch.arange(12) % 3 if net(**inputs).dim() == 2 else torch.arange(12 * 64).view(12, 8, 8) % 3
    made = channels(net, config, data=method_data(net, inputs, targets))
    for layer, (count, places) in MORE[name].free.items():
        left = width_of(made.model.get_submodule(layer)) / places
        assert left == pytest.approx(count / 2, abs=0.5)
        (row,) = [row for row in made.listings[0].rows if layer in row[0].split(" + ")[0]]
        assert row[1:3] == (count * places, left * places)
    assert torch.equal(reloaded(made.model, name)(**inputs), made.model(**inputs))


@every_net
def test_channels_of_no_size_and_shut_gates_are_those_that_go(name: str) -> None:
    net, inputs = net_of(name), MORE[name].inputs()
    groups = [group for group in removable_groups(net, take(inputs, slice(0, 2))) if not group.why_whole]
    student = gated(net, groups, speed=1.0)
    with torch.no_grad():
        for gate in [module for module in student.modules() if isinstance(module, Gate)]:
            gate.scaled[1::2] = -9.0
    gates = final_gates(student)
    made = without_silent(merged(student, net), groups, gates, round_to=1).model
    assert all(width_of(made.get_submodule(one.layer)) == -(-one.channels // 2) * one.blocks for one in groups)
    if MORE[name].exact:
        torch.testing.assert_close(made(**inputs), student(**inputs))
    assert all(bool((channel_sizes(net, group) > 0).all()) for group in groups)
