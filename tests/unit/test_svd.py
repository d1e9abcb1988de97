"""Low-rank pairs: exact where the weight is of low rank, smaller always."""

import numpy as np
import pytest
import torch
from torch import nn

from slimline.errors import StageError
from slimline.methods.factorize.decomposition import decomposed
from slimline.methods.factorize.ranks import chosen_ranks
from slimline.methods.factorize.svd import MATRIX, svd
from slimline.methods.factorize.whitening import NOT_WHITENED
from slimline.params import SvdParams
from tests.method_data import method_data


def config(**amount: object) -> SvdParams:
    return SvdParams(source="teacher", method="svd", **amount)


def parameters(model: nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


@pytest.fixture
def net() -> nn.Module:
    """A 3x3 convolution, a strided and padded 1x1 one of rank 4, a Linear layer of rank 5, a small head."""
    torch.manual_seed(0)
    pointwise, wide = nn.Conv2d(24, 32, 1, stride=2, padding=1), nn.Linear(288, 40)
    with torch.no_grad():
        pointwise.weight.copy_((torch.randn(32, 4) @ torch.randn(4, 24)).view(32, 24, 1, 1))
        wide.weight.copy_(torch.randn(40, 5) @ torch.randn(5, 288) / 20)
    return nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), pointwise, nn.ReLU(), nn.Flatten(), wide, nn.ReLU(), nn.Linear(40, 3)
    ).eval()


@pytest.fixture
def inputs() -> torch.Tensor:
    return torch.randn(40, 1, 4, 4, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("activation_aware", [True, False])
def test_layers_of_low_rank_become_pairs_with_equal_outputs(net: nn.Module, inputs: torch.Tensor, activation_aware: bool) -> None:
    factorized = svd(net, config(rank=5, activation_aware=activation_aware), data=method_data(net, inputs)).model
    pair, wide = factorized[2], factorized[5]
    assert [type(layer) for layer in pair] == [nn.Conv2d, nn.Conv2d]
    assert (pair[0].bias, pair[0].stride, pair[0].padding, pair[1].stride, pair[1].padding) == (None, (2, 2), (1, 1), (1, 1), (0, 0))
    assert (wide[0].in_features, wide[0].out_features, wide[1].out_features) == (288, 5, 40)
    assert wide[0].bias is None
    assert isinstance(factorized[0], nn.Conv2d), "kernels above 1x1 stay, unless kernels: all"
    assert isinstance(factorized[7], nn.Linear), "rank 5 of a 3x40 head would be no smaller"
    torch.testing.assert_close(factorized(inputs), net(inputs), rtol=1e-4, atol=1e-4)
    assert parameters(factorized) < parameters(net)


def test_energy_keeps_what_it_says_of_the_weight(net: nn.Module, inputs: torch.Tensor) -> None:
    weight = net[5].weight.detach().numpy().astype(np.float64)
    kept = svd(net, config(energy=0.6, activation_aware=False), data=method_data(net, inputs)).model[5]
    product = (kept[1].weight @ kept[0].weight).detach().numpy()
    assert 1 - ((weight - product) ** 2).sum() / (weight**2).sum() >= 0.6


def test_parameter_ratio_leaves_no_more_than_that_share(net: nn.Module, inputs: torch.Tensor) -> None:
    pair = svd(net, config(parameter_ratio=0.25), data=method_data(net, inputs)).model[5]
    assert 0.2 <= sum(layer.weight.numel() for layer in pair) / net[5].weight.numel() <= 0.25


def test_statistics_make_the_outputs_error_smaller_at_equal_rank(inputs: torch.Tensor) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64))
    few = inputs[:, :, :, :1].repeat(1, 1, 1, 4)
    errors = {}
    for aware in (False, True):
        outputs = svd(net, config(rank=6, activation_aware=aware), data=method_data(net, few)).model(few)
        errors[aware] = float((outputs - net(few)).detach().norm())
    assert errors[True] < 0.7 * errors[False]


@pytest.mark.parametrize(
    ("amount", "words"), [({"rank": 400}, "rank 400"), ({"energy": 0.9999999}, "energy 1"), ({"parameter_ratio": 0.999}, None)]
)
def test_an_amount_that_shrinks_nothing_is_said_in_words(amount: dict[str, float], words: str | None) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    data = method_data(net, torch.randn(16, 8))
    if words is None:
        assert parameters(svd(net, config(**amount), data=data).model) < parameters(net)
        return
    with pytest.raises(StageError, match=f"none of 2 layers gets smaller at {words}; lower it"):
        svd(net, config(**amount), data=data)


def test_where_nothing_can_be_factorized_the_option_to_change_is_named() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    data = method_data(net, torch.randn(16, 8))
    with pytest.raises(StageError, match=r"smaller at parameter_ratio 0\.01; raise it"):
        svd(net, config(parameter_ratio=0.01), data=data)
    with pytest.raises(StageError, match=r"all 2 layers are left alone \(0: fewer than 99 channels; 2: .*see min_channels"):
        svd(net, config(rank=1, min_channels=99), data=data)
    with pytest.raises(StageError, match="no layer for svd"):
        svd(nn.Sequential(nn.ReLU()), config(rank=1), data=data)


def test_by_energy_ranks_are_multiples_of_16_where_that_saves() -> None:
    found = {}
    for inputs in (288, 50):
        layer = nn.Linear(inputs, 40)
        with torch.no_grad():
            layer.weight.copy_(torch.eye(40, inputs))
        found[inputs] = chosen_ranks(decomposed(layer, MATRIX, NOT_WHITENED), config(energy=0.45))
    assert found == {288: (32,), 50: (18,)}


def test_a_layer_used_twice_stays_one_pair() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(32, 32)
            self.second = self.first

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(torch.relu(self.first(x)))

    factorized = svd(Twice(), config(rank=4), data=method_data(Twice(), torch.randn(64, 32))).model
    assert factorized.first is factorized.second
    assert parameters(factorized) == 32 * 4 * 2 + 32
