"""What a channel is worth by each criterion: the closed form on small weights, and channels that only the loss tells apart."""

import pytest
import torch
from torch import Tensor, nn

from slimline.methods.prune.channel_groups import channel_groups
from slimline.methods.prune.channel_scores import channel_scores, per_channel, taylor_scores
from slimline.methods.prune.channels import channels
from slimline.methods.prune.lamp import lamp_scores
from slimline.objectives.classification import Classification
from slimline.params import ChannelsParams
from tests.method_data import method_data


def config(**more: object) -> ChannelsParams:
    return ChannelsParams(**{"source": "teacher", "method": "channels", "ratio": 0.5, "round_to": 1, **more})


def two_layers() -> nn.Sequential:
    """Three channels: the first layer's weights are 1, 2, 3 (twice each), the batch norm's 3, 2, 1, the second layer's 2, 4, 6."""
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 1.0], [2.0, -2.0], [3.0, 3.0]]))
        model[1].weight.copy_(torch.tensor([3.0, -2.0, 1.0]))
        model[2].weight.copy_(torch.tensor([[2.0, -4.0, 6.0]]))
    return model


class MeanOutput(Classification):
    """A loss that is linear in the outputs."""

    def __init__(self) -> None:
        super().__init__(("a", "b"))

    def loss(self, outputs: Tensor, *_: Tensor) -> Tensor:
        return outputs.mean()


def scores(model: nn.Module, inputs: Tensor, **more: object) -> Tensor:
    data = method_data(model, inputs, objective=MeanOutput(), seed=3)
    return channel_scores(model, channel_groups(model, data.example), config(**more), data)["0"]


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ("l1", [2 + 3 + 2, 4 + 2 + 4, 6 + 1 + 6]),
        ("l2", [2 + 9 + 4, 8 + 4 + 16, 18 + 1 + 36]),
        ("batchnorm_scale", [3, 2, 1]),
    ],
)
def test_magnitudes_and_scales_are_those_of_the_weights_with_mean_one(criterion: str, expected: list[float]) -> None:
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(scores(two_layers(), torch.zeros(2, 2), criterion=criterion), wanted / wanted.mean())


def test_without_a_batch_norm_its_scale_falls_back_to_l2() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    by_scale, by_weight = (scores(model, torch.zeros(2, 2), criterion=criterion) for criterion in ("batchnorm_scale", "l2"))
    assert torch.equal(by_scale, by_weight)


def test_lamp_divides_by_what_is_not_smaller() -> None:
    torch.testing.assert_close(lamp_scores(torch.tensor([4.0, 1.0, 3.0])), torch.tensor([1.0, 1 / 8, 3 / 7]))


def test_random_is_the_seeds() -> None:
    one, two = (scores(two_layers(), torch.zeros(2, 2), criterion="random") for _ in range(2))
    assert torch.equal(one, two)
    assert len(set(one.tolist())) == 3


def test_taylor_is_the_squared_change_of_the_loss_when_a_channel_goes() -> None:
    """With linear layers and a linear loss, the first order is the whole change: the channel's share of the mean output."""
    model, inputs = two_layers(), torch.randn(24, 2, generator=torch.Generator().manual_seed(0))
    data = method_data(model, inputs, objective=MeanOutput())
    found = taylor_scores(model, channel_groups(model, data.example), data, samples=24)["0"]
    features = model[1](model[0](inputs)) * model[2].weight
    torch.testing.assert_close(found, features.mean(0).square().double(), check_dtype=False, rtol=1e-4, atol=1e-8)


def test_channels_of_many_places_are_summed_over_them() -> None:
    """A flattened image: each channel has four inputs of the Linear layer."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 1))
    (group,) = channel_groups(model, {"input": torch.zeros(2, 1, 2, 2)})
    reader = next(place for place in group.slices if place.reads)
    assert per_channel(torch.arange(8.0).view(1, 8), reader, 2).tolist() == [0 + 1 + 2 + 3, 4 + 5 + 6 + 7]


def test_only_taylor_sees_that_large_weights_do_nothing() -> None:
    """Half of the hidden units have large weights, but never fire: magnitudes keep them, the loss tells them apart."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(64, 4, generator=generator)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    with torch.no_grad():
        model[0].weight[::2] = -5.0
        model[0].bias[::2] = -1.0
        model[2].weight[:, ::2] = 5.0
    targets = model(inputs).argmax(1)
    by_taylor, by_weight = (
        channels(model, config(criterion=criterion), data=method_data(model, inputs, targets)).model for criterion in ("taylor", "l2")
    )
    torch.testing.assert_close(by_taylor(inputs), model(inputs))
    torch.testing.assert_close(by_weight(inputs), model[2].bias.expand(64, 2))
