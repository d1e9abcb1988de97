"""Channel pruning: which shapes come out, and that the right channels go."""

import pytest
import torch
from torch import Tensor, nn

from slimline.methods.prune.channels import channels
from slimline.params import ChannelsParams
from tests.method_data import method_data


def config(ratio: float, **more: object) -> ChannelsParams:
    return ChannelsParams(**{"source": "teacher", "method": "channels", "ratio": ratio, "round_to": 4, **more})


class Residual(nn.Module):
    """A stem, a residual pair of convolutions, a flattened Linear layer and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.inner = nn.Conv2d(16, 24, 3, padding=1)
        self.back = nn.Conv2d(24, 16, 3, padding=1)
        self.hidden, self.head = nn.Linear(16 * 16, 40), nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.back(torch.relu(self.inner(x)))
        return self.head(torch.relu(self.hidden(x.flatten(1))))


EXAMPLE = torch.zeros(2, 1, 4, 4)
DATA = method_data(Residual(), EXAMPLE)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Residual().eval()


def widths(model: nn.Module) -> list[int]:
    return [layer.weight.shape[0] for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize("criterion", ["l1", "l2", "random"])
def test_half_the_channels_go_and_the_head_and_the_residual_still_fit(net: nn.Module, criterion: str) -> None:
    pruned = channels(net, config(0.5, criterion=criterion), data=DATA).model
    assert widths(pruned) == [8, 12, 8, 20, 3]
    assert (pruned.hidden.in_features, pruned.stem[1].num_features) == (8 * 16, 8)
    assert pruned(torch.randn(5, 1, 4, 4)).shape == (5, 3)


@pytest.mark.parametrize(
    ("ratio", "multiple", "expected"), [(0.5, 16, [16, 16, 16, 16, 3]), (0.3, 4, [12, 16, 12, 28, 3]), (0.99, 1, [1, 1, 1, 1, 3])]
)
def test_widths_are_multiples_and_never_nothing(net: nn.Module, ratio: float, multiple: int, expected: list[int]) -> None:
    assert widths(channels(net, config(ratio, round_to=multiple), data=DATA).model) == expected


def test_groups_narrower_than_the_multiple_stay(net: nn.Module) -> None:
    assert widths(channels(net, config(0.9, round_to=32), data=DATA).model) == [16, 24, 16, 32, 3]


def test_channels_of_no_weight_go_first_and_the_outputs_stay(net: nn.Module) -> None:
    with torch.no_grad():
        for layer, dead in ((net.inner, range(0, 24, 2)), (net.hidden, range(1, 40, 2))):
            layer.weight[list(dead)] = 0
            layer.bias[list(dead)] = 0
        net.back.weight[:, ::2] = 0
        net.head.weight[:, 1::2] = 0
        for name in ("stem.0", "stem.1", "back"):
            layer = net.get_submodule(name)
            layer.weight[8:] = 0
            layer.bias[8:] = 0
        net.inner.weight[:, 8:] = 0
        net.hidden.weight.view(40, 16, 16)[:, 8:] = 0
    x = torch.randn(6, 1, 4, 4)
    pruned = channels(net, config(0.5), data=DATA).model
    assert widths(pruned) == [8, 12, 8, 20, 3]
    torch.testing.assert_close(pruned(x), net(x))


def test_global_scope_takes_more_where_channels_are_weak(net: nn.Module) -> None:
    with torch.no_grad():
        net.inner.weight[:18] *= 0.01
        net.back.weight[:, :18] *= 0.01
    pruned = channels(net, config(0.3, scope="global"), data=DATA).model
    assert pruned.inner.out_channels == 8
    assert pruned.hidden.out_features > 20


def test_depthwise_and_grouped_convolutions_keep_their_groups() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 16, 1, groups=4), nn.Flatten(), nn.Linear(256, 2)
    )
    pruned = channels(net, config(0.5, round_to=2), data=method_data(net, EXAMPLE)).model
    depthwise, grouped = pruned[1], pruned[2]
    assert depthwise.groups == depthwise.out_channels == depthwise.in_channels < 16
    assert grouped.groups == 4
    assert grouped.out_channels < 16
    assert pruned(torch.randn(3, 1, 4, 4)).shape == (3, 2)


def test_two_layers_that_add_up_to_the_output_are_both_protected() -> None:
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.one, self.two = nn.Linear(4, 16), nn.Linear(16, 8), nn.Linear(4, 8)

        def forward(self, x: Tensor) -> Tensor:
            return torch.log_softmax(self.one(torch.relu(self.body(x))) + self.two(x), dim=1)

    pruned = channels(TwoHeads(), config(0.5, round_to=1), data=method_data(TwoHeads(), torch.zeros(2, 4))).model
    assert widths(pruned) == [8, 8, 8]


def test_the_callers_random_state_is_left_alone(net: nn.Module) -> None:
    before = torch.random.get_rng_state()
    channels(net, config(0.5, criterion="random"), data=method_data(net, EXAMPLE, seed=5))
    assert torch.equal(torch.random.get_rng_state(), before)
