"""Pruning in rounds: the amounts of each schedule, that zeros stay and grow, and that a stopped run goes on with equal bytes."""

import copy
import math
from collections.abc import Mapping

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from slimline.methods.edited import Edited
from slimline.methods.prune.schedule import amounts, stepwise
from slimline.params.schedule import Schedule, ScheduledParams
from slimline.training.checkpoints import Checkpoints
from tests.method_data import method_data

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(64, 4, generator=GENERATOR)
TARGETS = (INPUTS[:, 0] > INPUTS[:, 1]).long()
IN_ROUNDS = ScheduledParams(
    source="teacher",
    method="any",
    schedule=Schedule(kind="iterative", rounds=3, epochs=6),
    recover={"batch_size": 16, "learning_rate": 0.02},
)


class Kept(Checkpoints):
    """Rounds in memory; `until` is the round after which the run is stopped."""

    def __init__(self, until: int = 99) -> None:
        super().__init__(math.inf)
        self.tensors: dict[int, Mapping[str, Tensor]] = {}
        self.until = until

    def load(self, name: str) -> Mapping[str, Tensor] | None:
        """What was saved."""
        return None if name.startswith("training") else self.tensors.get(int(name.removeprefix("round-")))

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep a copy, as a file would."""
        number = int(name.removeprefix("round-"))
        self.tensors[number] = {name: value.clone() for name, value in tensors.items()}
        if number == self.until:
            raise KeyboardInterrupt


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


def smallest_zeroed(model: nn.Module, amount: float) -> nn.Module:
    pruned = copy.deepcopy(model)
    with torch.no_grad():
        flat = pruned[0].weight.view(-1)
        flat[flat.abs().argsort()[: round(amount * len(flat))]] = 0
    return pruned


def run(config: ScheduledParams = IN_ROUNDS, rounds: Kept | None = None) -> Edited:
    return stepwise(net(), config, method_data(net(), INPUTS, TARGETS, checkpoints=rounds), smallest_zeroed, final=0.875)


def test_iterative_takes_the_same_share_of_what_remains() -> None:
    left = [1 - amount for amount in amounts(Schedule(kind="iterative", rounds=3), 0.875)]
    assert left == pytest.approx([0.5, 0.25, 0.125])


def test_agp_is_the_cubic_of_zhu_and_gupta() -> None:
    assert amounts(Schedule(kind="agp", rounds=4), 0.8) == pytest.approx([0.8 * (1 - part**3) for part in (0.75, 0.5, 0.25, 0)])
    assert amounts(Schedule(kind="agp", rounds=7), 0.9)[-1] == 0.9
    assert amounts(Schedule(), 0.9) == (0.9,)


def test_each_round_trains_and_keeps_its_zeros() -> None:
    seen: list[int] = []

    def noted(model: nn.Module, amount: float) -> nn.Module:
        seen.append(int((model[0].weight == 0).sum()))
        return smallest_zeroed(model, amount)

    made = stepwise(net(), IN_ROUNDS, method_data(net(), INPUTS, TARGETS), noted, final=0.875)
    assert seen == [0, 32, 48]
    assert int((made.model[0].weight == 0).sum()) == 56
    assert [epoch.number for epoch in made.history.epochs] == list(range(1, 19))
    assert made.history.best_epoch in range(12, 19)  # 12: the last round kept the model as it came to its training
    (line,) = made.curves[0].series.values()
    assert [x for x, _ in line] == pytest.approx([0.5, 0.75, 0.875])
    assert line[-1][1] > 0.7


def test_one_shot_only_prunes() -> None:
    made = run(ScheduledParams(source="teacher", method="any"))
    assert made.history.epochs == ()
    assert torch.equal(made.model[0].weight, smallest_zeroed(net(), 0.875)[0].weight)


def test_a_run_that_was_stopped_goes_on_with_equal_bytes() -> None:
    whole, rounds = run(), Kept(until=2)
    with pytest.raises(KeyboardInterrupt):
        run(rounds=rounds)
    assert sorted(rounds.tensors) == [1, 2]
    rounds.until, first = 99, {name: value.clone() for name, value in rounds.tensors[1].items()}
    resumed = run(rounds=rounds)
    assert sorted(rounds.tensors) == [1, 2, 3]
    assert all(torch.equal(value, rounds.tensors[1][name]) for name, value in first.items())
    assert resumed.history == whole.history
    assert resumed.curves == whole.curves
    assert all(torch.equal(value, resumed.model.state_dict()[name]) for name, value in whole.model.state_dict().items())


@pytest.mark.parametrize("settings", [{"rounds": 3}, {"epochs": 2}, {"kind": "agp"}, {"kind": "iterative", "rounds": 1}])
def test_rounds_that_do_not_fit_the_kind_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"one_shot has no rounds|needs at least 2 rounds"):
        Schedule(**settings)


def test_batch_norm_is_recalibrated_before_each_training() -> None:
    model = net()
    model[1].momentum = 0.0  # so that training leaves the statistics alone
    made = stepwise(model, IN_ROUNDS, method_data(net(), INPUTS, TARGETS), smallest_zeroed, final=0.875).model
    halved = stepwise(model, IN_ROUNDS, method_data(net(), INPUTS, TARGETS), smallest_zeroed, final=0.5).model
    assert not torch.equal(made[1].running_mean, model[1].running_mean)
    assert float(made[1].running_var.mean()) < float(halved[1].running_var.mean())


def test_rounds_do_not_go_with_low_rank_updates() -> None:
    with pytest.raises(ValidationError, match=r"trains every weight between its rounds: leave out recover\.lora_rank"):
        ScheduledParams(source="teacher", method="any", schedule=Schedule(kind="agp", rounds=2), recover={"lora_rank": 2})


def test_a_small_share_of_zeros_stays_through_the_rounds() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))

    def prune_to(current: nn.Module, amount: float) -> nn.Module:
        pruned = copy.deepcopy(current)
        with torch.no_grad():
            pruned[0].weight[0, :2] = 0.0
        return pruned

    made = stepwise(model, IN_ROUNDS, method_data(net(), INPUTS, TARGETS), prune_to, final=0.01)
    assert int((made.model[0].weight == 0).sum()) == 2
