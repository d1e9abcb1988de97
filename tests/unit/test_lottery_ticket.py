"""Lottery tickets on nets small enough to count, and on a task where two of 40 inputs matter."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from slimline.errors import StageError
from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.prune.lottery_rounds import CONTROLS, RANDOM_INIT, RANDOM_TICKET, from_tensors, to_tensors
from slimline.methods.prune.lottery_ticket import fewer, lottery_ticket, masks_of, other_weights
from slimline.params import LotteryTicketParams
from slimline.training.checkpoints import Checkpoints
from slimline.training.fit import fit
from tests.method_data import method_data

TRAINING = {"epochs": 3, "batch_size": 32, "learning_rate": 0.02}


class Memory(Checkpoints):
    """Rounds in memory; `stop_after` breaks off as a kill would, once that round is kept."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__(math.inf)
        self.rounds: dict[int, dict[str, Tensor]] = {}
        self.stop_after = stop_after
        self.saved: list[int] = []

    def load(self, name: str) -> Mapping[str, Tensor] | None:
        return None if name.startswith("training") else self.rounds.get(int(name.removeprefix("round-")))

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        number = int(name.removeprefix("round-"))
        self.rounds[number] = {name: value.clone() for name, value in tensors.items()}
        self.saved.append(number)
        if number == self.stop_after:
            raise KeyboardInterrupt


def config(**more: Any) -> LotteryTicketParams:
    settings = {"rounds": 3, "fraction": 0.3, "training": TRAINING} | more
    return LotteryTicketParams.model_validate({"source": "teacher", "method": "lottery_ticket"} | settings)


def net() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(40, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 2))


def two_inputs(count: int = 256) -> tuple[Tensor, Tensor]:
    """Forty inputs of noise; the class is which of the first two is larger."""
    inputs = torch.randn(count, 40, generator=torch.Generator().manual_seed(1))
    return inputs, (inputs[:, 0] > inputs[:, 1]).long()


def data(**more: Any) -> MethodData:
    return method_data(net(), *two_inputs(), seed=3, **{"initial": net} | more)


def pruned(kept: Memory, **more: Any) -> Edited:
    return lottery_ticket(net(), config(**more), data=data(checkpoints=kept))


def zeros(masks: Mapping[str, Tensor]) -> dict[str, int]:
    return {name: int(mask.logical_not().sum()) for name, mask in masks.items()}


def test_the_smallest_of_what_is_left_go_all_layers_ranked_together() -> None:
    weights = {"a": torch.tensor([1.0, -2.0, 3.0, -4.0]), "b": torch.tensor([[2.5, 30.0], [-40.0, 0.0]])}
    masks = {name: value != 0 for name, value in weights.items()}
    once = fewer(masks, weights, 0.43)
    assert zeros(once) == {"a": 2, "b": 2}, "3 of 7: 1, 2 and 2.5; the zero went before"
    assert once["a"].tolist() == [False, False, True, True]
    assert once["b"].tolist() == [[False, True], [True, False]]
    assert zeros(fewer(once, weights, 0.5)) == {"a": 3, "b": 3}, "3 goes, 4 stays as the last of its layer, 30 goes"


def test_a_layer_keeps_its_floor_and_never_loses_its_last_weight() -> None:
    weights = {"small": torch.arange(1.0, 11.0), "large": torch.arange(100.0, 110.0)}
    masks = {name: value != 0 for name, value in weights.items()}
    assert zeros(fewer(masks, weights, 0.6)) == {"small": 9, "large": 3}
    assert zeros(fewer(masks, weights, 0.4, floor=0.5)) == {"small": 5, "large": 3}
    assert zeros(fewer(masks, weights, 0.95, floor=0.5)) == {"small": 5, "large": 5}
    assert fewer(masks, weights, 0.6)["small"].tolist() == [False] * 9 + [True]


def test_each_round_leaves_its_share_and_brings_nothing_back() -> None:
    kept = Memory()
    made = pruned(kept, control_rounds=[])
    found = [masks_of(net(), from_tensors(kept.rounds[number]).ticket.weights) for number in range(4)]
    left = [sum(int(mask.sum()) for mask in masks.values()) for masks in found]
    assert left == [1008, 706, 495, 347]
    for earlier, later in pairwise(found):
        assert all(bool((later[name] <= earlier[name]).all()) for name in later)
    assert sum(int((made.model[place].weight != 0).sum()) for place in (0, 3)) == 347
    assert made.details["lottery"][3]["left"] == pytest.approx(347 / 1008)


def test_a_ticket_that_lost_nothing_is_the_dense_net_bit_for_bit() -> None:
    """So a round differs from the dense training by its mask alone."""
    kept = Memory()
    pruned(kept, fraction=1e-6, rounds=1)
    dense, ticket = (from_tensors(kept.rounds[number]).ticket for number in (0, 1))
    assert all(torch.equal(value, dense.weights[name]) for name, value in ticket.weights.items())
    assert ticket.history == dense.history


def test_tickets_start_from_the_initial_weights() -> None:
    """Trained by hardly anything, they still lie there."""
    kept, still = Memory(), {"epochs": 1, "batch_size": 256, "learning_rate": 1e-9, "weight_decay": 0}
    pruned(kept, training=still)
    initial, last = net().state_dict(), from_tensors(kept.rounds[3])
    for name, mask in masks_of(net(), last.ticket.weights).items():
        torch.testing.assert_close(last.ticket.weights[name], initial[name] * mask, rtol=0, atol=1e-7)
        assert 0 < int(mask.sum()) < mask.numel()


def test_rewound_weights_are_those_of_that_epoch_and_the_schedule_goes_on_from_there() -> None:
    kept = Memory()
    pruned(kept, rewind_epoch=2, rounds=1)
    dense, ticket = (from_tensors(kept.rounds[number]) for number in (0, 1))
    twin = net()
    twin.load_state_dict(dict(dense.rewind))
    given = data()
    kinds = {"objective": given.objective, "metric": given.metric, "validation": given.validation}
    judged = []
    fit(twin, given.train, config().training, **kinds, first_epoch=3, on_epoch=lambda epoch, _: judged.append(epoch))
    inputs, targets = two_inputs()
    assert nn.functional.cross_entropy(twin.eval()(inputs), targets).item() == pytest.approx(
        dense.ticket.history.epochs[1].validation_loss, rel=1e-6
    )
    assert [epoch.number for epoch in ticket.ticket.history.epochs] == [epoch.number for epoch in judged] == [3]


def test_controls_have_the_tickets_sparsity_layer_by_layer() -> None:
    kept = Memory()
    pruned(kept, control_rounds=[2])
    assert {number for number in kept.saved if from_tensors(kept.rounds[number]).controls} == {2}
    second = from_tensors(kept.rounds[2])
    ticket, elsewhere, other = (
        masks_of(net(), trained.weights) for trained in (second.ticket, *(second.controls[name] for name in CONTROLS))
    )
    assert zeros(elsewhere) == zeros(ticket)
    assert not torch.equal(elsewhere["0.weight"], ticket["0.weight"])
    assert all(torch.equal(mask, ticket[name]) for name, mask in other.items())
    assert not torch.equal(second.controls[RANDOM_INIT].weights["0.weight"], second.ticket.weights["0.weight"])


def test_a_ticket_finds_the_inputs_that_matter_and_a_random_one_does_not() -> None:
    """2.8 % of the weights: the ticket keeps those of the two inputs that decide the class."""
    kept = Memory()
    made = pruned(kept, rounds=10, training=TRAINING | {"epochs": 5})
    weight, last = made.model[0].weight.detach(), from_tensors(kept.rounds[10])
    first_two = (weight[:, :2] != 0).sum() / (weight != 0).sum()
    assert first_two > 0.5, "by chance it would be 0.05"
    assert last.ticket.metric > last.controls[RANDOM_TICKET].metric + 0.1
    assert made.details["lottery"][-1]["random_ticket"] == last.controls[RANDOM_TICKET].metric
    assert set(made.curves[0].series) == {"dense", "ticket", "random ticket", "ticket, other initial weights"}
    assert len(made.listings[0].rows) == 11


@pytest.mark.parametrize("stop_after", [0, 2])
def test_a_stopped_search_goes_on_where_it_was_with_equal_bytes(stop_after: int) -> None:
    whole, broken = Memory(), Memory(stop_after)
    expected = pruned(whole, control_rounds=[2], rewind_epoch=1)
    with pytest.raises(KeyboardInterrupt):
        pruned(broken, control_rounds=[2], rewind_epoch=1)
    broken.stop_after = None
    made = pruned(broken, control_rounds=[2], rewind_epoch=1)
    assert broken.saved == [0, 1, 2, 3], "no round is trained twice"
    assert all(torch.equal(value, expected.model.state_dict()[name]) for name, value in made.model.state_dict().items())
    assert (made.history, made.details, made.listings) == (expected.history, expected.details, expected.listings)


def test_a_round_comes_back_from_its_tensors_bit_for_bit() -> None:
    kept = Memory()
    pruned(kept, rounds=1, rewind_epoch=1)
    for tensors in kept.rounds.values():
        again = to_tensors(from_tensors(tensors))
        assert again.keys() == tensors.keys()
        assert all(torch.equal(value, tensors[name]) for name, value in again.items())


def test_without_untrained_weights_there_is_no_ticket() -> None:
    with pytest.raises(StageError, match="untrained weights"):
        lottery_ticket(net(), config(), data=data(initial=None))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rewind_epoch": 3}, "rewind_epoch 3 leaves nothing of the 3 epochs"),
        ({"control_rounds": [4]}, "at most once, from 1 to 3"),
        ({"control_rounds": [2, 2]}, "at most once, from 1 to 3"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(**settings)


def test_other_initial_weights_leave_buffers_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    model.register_buffer("place", torch.arange(16))
    other = other_weights(model, torch.Generator().manual_seed(0))
    assert torch.equal(other["place"], torch.arange(16))
    assert not torch.equal(other["0.weight"], model[0].weight)
    assert torch.equal(other["0.weight"].flatten().sort().values, model[0].weight.detach().flatten().sort().values)
