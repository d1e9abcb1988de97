"""Magnitude pruning by hand-countable weights."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from slimline.errors import StageError
from slimline.methods.data import MethodData
from slimline.methods.prune.channel_groups import channel_groups
from slimline.methods.prune.lamp import lamp_scores
from slimline.methods.prune.magnitude import magnitude
from slimline.methods.prune.weights import lowest, lowest_of_all
from slimline.params import MagnitudeParams
from tests.method_data import method_data


def config(**amount: object) -> MagnitudeParams:
    return MagnitudeParams(source="teacher", method="magnitude", **amount)


@pytest.fixture
def net() -> nn.Module:
    """Linear layers whose weights are 1 … 8 and 10 … 80, signs alternating."""
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 4))
    with torch.no_grad():
        signs = torch.tensor([1.0, -1.0]).repeat(4)
        model[0].weight.copy_((torch.arange(1.0, 9.0) * signs).view(2, 4))
        model[2].weight.copy_((torch.arange(10.0, 90.0, 10.0) * signs).view(4, 2))
    return model


def seeded(seed: int) -> MethodData:
    return method_data(nn.Sequential(), torch.zeros(2, 4), seed=seed)


DATA = seeded(0)


def zeros(model: nn.Module) -> tuple[int, int]:
    return int((model[0].weight == 0).sum()), int((model[2].weight == 0).sum())


@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_local_scope_takes_the_fraction_of_every_layer_and_the_smallest_of_each(net: nn.Module, criterion: str) -> None:
    pruned = magnitude(net, config(fraction=0.5, scope="local", criterion=criterion), data=DATA).model
    assert zeros(pruned) == (4, 4)
    assert pruned[0].weight.flatten().tolist() == [0, 0, 0, 0, 5, -6, 7, -8]
    assert pruned[2].weight.flatten().tolist() == [0, 0, 0, 0, 50, -60, 70, -80]


def test_global_scope_ranks_all_layers_together(net: nn.Module) -> None:
    assert zeros(magnitude(net, config(fraction=0.4, scope="global"), data=DATA).model) == (6, 0)


def test_threshold_compares_the_score_of_the_norm(net: nn.Module) -> None:
    assert zeros(magnitude(net, config(threshold=5.0), data=DATA).model) == (4, 0)
    assert zeros(magnitude(net, config(threshold=25.0, criterion="l2"), data=DATA).model) == (4, 0)
    assert zeros(magnitude(net, config(threshold=8.0), data=DATA).model) == (7, 0)


def test_a_layer_that_would_be_emptied_is_an_error_with_its_name(net: nn.Module) -> None:
    with pytest.raises(StageError, match=r"layer '0' would lose all its 8 weights at fraction 0\.5"):
        magnitude(net, config(fraction=0.5, scope="global"), data=DATA)
    with pytest.raises(StageError, match="threshold 9"):
        magnitude(net, config(threshold=9.0), data=DATA)


def test_random_depends_on_the_seed_alone(net: nn.Module) -> None:
    chosen = config(fraction=0.5, scope="local", criterion="random")
    one, again, other = (magnitude(net, chosen, data=seeded(seed)).model for seed in (1, 1, 2))
    assert torch.equal(one[0].weight, again[0].weight)
    assert zeros(one) == zeros(other) == (4, 4)
    assert not (torch.equal(one[0].weight, other[0].weight) and torch.equal(one[2].weight, other[2].weight))


def test_weights_that_are_zero_already_count(net: nn.Module) -> None:
    once = magnitude(net, config(fraction=0.25, scope="local", criterion="random"), data=seeded(3)).model
    twice = magnitude(once, config(fraction=0.5, scope="local", criterion="random"), data=seeded(4)).model
    assert zeros(twice) == (4, 4)
    assert bool(((once[0].weight == 0) <= (twice[0].weight == 0)).all())


def test_biases_stay(net: nn.Module) -> None:
    pruned = magnitude(net, config(fraction=0.5, scope="local"), data=DATA).model
    assert torch.equal(pruned[0].bias, net[0].bias)


def test_of_equal_weights_the_first_go_and_never_one_too_many() -> None:
    assert lowest(torch.ones(2, 5), 0.35).flatten().tolist() == [True] * 3 + [False] * 7


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.95])
def test_lowest_is_the_beginning_of_the_stable_order(fraction: float) -> None:
    scores = torch.randint(-1, 6, (7, 11), generator=torch.Generator().manual_seed(0)).double()
    expected = torch.zeros(77, dtype=torch.bool)
    expected[scores.flatten().argsort(stable=True)[: int(fraction * 77)]] = True
    assert torch.equal(lowest(scores, fraction), expected.view(7, 11))


def test_lamp_is_the_square_over_the_squares_that_are_no_smaller() -> None:
    scores = lamp_scores(torch.tensor([[3.0, 1.0], [0.0, 2.0]], dtype=torch.float64).square())
    assert scores.flatten().tolist() == pytest.approx([9 / 9, 1 / 14, 0, 4 / 13])


def test_lamp_spares_a_layer_of_small_weights(net: nn.Module) -> None:
    assert zeros(magnitude(net, config(fraction=0.4), data=DATA).model) == (6, 0)
    assert zeros(magnitude(net, config(fraction=0.375, criterion="lamp"), data=DATA).model) == (3, 3)  # the layers are multiples
    assert zeros(magnitude(net, config(fraction=0.85, criterion="lamp"), data=DATA).model) == (7, 6)


def test_a_floor_keeps_the_best_of_each_layer_and_takes_more_from_the_others(net: nn.Module) -> None:
    pruned = magnitude(net, config(fraction=0.5, floor=0.25), data=DATA).model
    assert zeros(pruned) == (6, 2)
    assert pruned[0].weight.flatten().tolist() == [0, 0, 0, 0, 0, 0, 7, -8]
    assert zeros(magnitude(net, config(threshold=9.0, floor=0.25), data=DATA).model) == (6, 0)
    everything = lowest_of_all({"a": torch.arange(3.0), "b": torch.arange(3.0)}, 0.9, 0.1)  # a tenth of three is a whole weight
    assert [int(gone.sum()) for gone in everything.values()] == [2, 2]


def test_the_sensitive_layer_loses_less_and_the_whole_as_much(net: nn.Module) -> None:
    data = method_data(net, torch.zeros(2, 4), sensitivity=lambda kind: {"prune": {"0": 0.9, "2": 0.1}}[kind])
    first, last = zeros(magnitude(net, config(fraction=0.5, scope="sensitivity"), data=data).model)
    assert first + last == 8
    assert first < 4 < last
    with pytest.raises(StageError, match="scope: sensitivity needs the stage calibrate"):
        magnitude(net, config(fraction=0.5, scope="sensitivity"), data=DATA)


def test_in_rounds_weights_that_are_gone_stay_gone_and_the_rest_is_trained(net: nn.Module) -> None:
    schedule = {"kind": "agp", "rounds": 3, "epochs": 1}
    chosen = config(fraction=0.5, scope="local", schedule=schedule, recover={"batch_size": 2, "learning_rate": 0.1})
    inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    made = magnitude(net, chosen, data=method_data(net, inputs, torch.arange(16) % 4))
    assert zeros(made.model) == (4, 4)
    assert [x for x, _ in made.curves[0].series["after the round's training"]] == pytest.approx(
        [0.5 * (1 - 8 / 27), 0.5 * (1 - 1 / 27), 0.5]
    )
    first = made.model[0].weight.flatten()
    assert first[:4].tolist() == [0, 0, 0, 0]  # 1 … 4 of 1 … 8
    assert len(made.history.epochs) == 3
    assert not torch.equal(first[4:], net[0].weight.flatten()[4:])


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ({}, "either fraction or threshold"),
        ({"threshold": 1.0, "criterion": "random"}, "threshold goes with no"),
        ({"threshold": 1.0, "schedule": {"kind": "agp", "rounds": 2}}, "threshold goes with no"),
        ({"fraction": 0.5, "criterion": "lamp", "scope": "local"}, "lamp ranks all layers together"),
        ({"fraction": 0.5, "scope": "local", "floor": 0.1}, "floor is for the other scopes"),
        ({"fraction": 0.95, "floor": 0.1}, "a floor of 0.1 leaves less than the fraction 0.95"),
    ],
)
def test_options_that_do_not_go_together_are_refused(amount: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(**amount)


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)
        self.b.weight = self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 16] -> the same."""
        return self.b(self.a(x).relu())


@pytest.mark.parametrize("criterion", ["l1", "random"])
def test_a_weight_that_two_layers_share_is_pruned_once(criterion: str) -> None:
    torch.manual_seed(0)
    pruned = magnitude(Tied(), config(fraction=0.5, criterion=criterion, scope="local"), data=method_data(Tied(), torch.randn(4, 16))).model
    assert pruned.a.weight is pruned.b.weight
    assert int((pruned.a.weight == 0).sum()) == 128


def test_channels_of_a_shared_weight_stay_whole() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), Tied(), nn.Linear(16, 3))
    groups = channel_groups(model, {"input": torch.zeros(2, 16)})
    reasons = {group.layer: group.why_whole for group in groups}
    assert "2.a.weight is shared with another layer" in reasons.values()
