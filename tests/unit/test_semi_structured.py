"""N:M by hand-countable weights, for Linear layers and along the input channels of convolutions."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from slimline.errors import StageError
from slimline.methods.prune.semi_structured import semi_structured
from slimline.params import SemiStructuredParams
from tests.method_data import method_data

DATA = method_data(nn.Sequential(), torch.zeros(2, 8))


def config(**settings: object) -> SemiStructuredParams:
    return SemiStructuredParams(source="teacher", method="semi_structured", **settings)


def test_the_two_largest_of_every_four_inputs_stay() -> None:
    layer = nn.Linear(8, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -4, 3, 2, 9, 8, 7, -10], [0, 0, 5, 0, 1, 1, 1, 1]]))
    pruned = semi_structured(layer, config(), data=DATA)
    assert pruned.model.weight.tolist() == [[0, -4, 3, 0, 9, 0, 0, -10], [0, 0, 5, 0, 0, 0, 1, 1]]
    assert pruned.notes == ()
    one_of_eight = semi_structured(layer, config(n=1, m=8), data=DATA).model
    assert one_of_eight.weight.tolist() == [[0, 0, 0, 0, 0, 0, 0, -10], [0, 0, 5, 0, 0, 0, 0, 0]]


def test_of_a_convolution_input_channels_are_grouped_at_each_place_of_the_kernel() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Conv1d(8, 2, 2))
    made = semi_structured(net, config(), data=DATA)
    for layer in (made.model[1], made.model[3]):
        kept = (layer.weight != 0).unflatten(1, (-1, 4)).sum(2)
        assert bool((kept == 2).all())
    assert torch.equal(made.model[0].weight, net[0].weight)
    assert torch.equal(made.model[2].weight, net[2].weight)
    assert made.notes == ("Not 2:4, for their inputs are no multiple of 4: 0, 2.",)
    kept, first = made.model[1].weight[0, :4, 0, 0], net[1].weight[0, :4, 0, 0]
    assert set(kept[kept != 0].tolist()) == set(first[first.abs().argsort()[2:]].tolist())


def test_a_random_choice_is_the_seeds() -> None:
    layer = nn.Linear(16, 4)
    one, again, other = (
        semi_structured(layer, config(criterion="random"), data=method_data(layer, torch.zeros(2, 16), seed=seed)).model.weight == 0
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert bool((other.unflatten(1, (-1, 4)).sum(2) == 2).all())


def test_a_model_without_fitting_layers_and_more_than_m_are_refused() -> None:
    with pytest.raises(StageError, match="none of 1 layers has inputs in multiples of m = 4"):
        semi_structured(nn.Linear(6, 2), config(), data=DATA)
    with pytest.raises(ValidationError, match="n = 5 of m = 4 weights cannot stay"):
        config(n=5)
