"""Magnitude pruning by hand-countable weights."""

import pytest
import torch
from torch import nn

from slimline.errors import StageError
from slimline.methods.data import MethodData
from slimline.methods.prune.magnitude import magnitude
from slimline.methods.prune.weights import lowest
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
    return method_data(torch.zeros(2, 4), seed=seed)


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
