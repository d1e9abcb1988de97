"""Pruning by training with a penalty: closed forms, that the right weights and channels go, and that removal changes nothing."""

import math
from collections.abc import Sequence

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from slimline.data.samples import Samples
from slimline.errors import StageError
from slimline.methods.prune.channel_trial import removable_groups
from slimline.methods.prune.group_lasso import channel_sizes, group_lasso, weakness
from slimline.methods.prune.hard_concrete import Gate, expected_share, final_gates, gated, hard_concrete, merged
from slimline.methods.prune.l1_regularised import l1_regularised
from slimline.methods.prune.network_slimming import network_slimming
from slimline.methods.prune.regularised import without_silent
from slimline.params import GroupLassoParams, HardConcreteParams, L1RegularisedParams, NetworkSlimmingParams, Training
from slimline.training.fit import predict
from tests.method_data import method_data
from tests.small_nets import seeded

TRAINING = {"epochs": 20, "batch_size": 32, "learning_rate": 0.01, "weight_decay": 0.0}
FASTER = TRAINING | {"learning_rate": 0.05}
IMAGE = {"x": torch.zeros(2, 1, 4, 4)}


def signal_and_noise() -> Samples:
    """Four numbers, of which the first two tell the class and the last two are noise."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(128, 4, generator=generator)
    return Samples({"input": inputs}, (inputs[:, 0] - inputs[:, 1] > 0).long())


SAMPLES = signal_and_noise()
DATA = method_data(nn.Sequential(), SAMPLES.inputs, SAMPLES.targets)


def half_useful(norms: bool = False) -> nn.Sequential:
    """Eight hidden channels: 0 to 3 read the signal and decide, 4 to 7 read noise alone, as strongly."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8) if norms else nn.Identity(), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        signs = torch.tensor([1.0, -1.0, 1.0, -1.0])
        model[0].weight.zero_()
        model[0].weight[:4, :2] = torch.stack([signs, -signs], dim=1)
        model[0].weight[4:, 2:] = torch.stack([signs, -signs], dim=1)
        model[3].weight[:, :4] = torch.stack([-signs, signs])
        model[3].weight[:, 4:] = 0.3 * torch.stack([signs, signs])
        model[0].bias.zero_()
        model[3].bias.zero_()
    return model.eval()


def source(kind: type, method: str, **options: object) -> object:
    return kind(**{"source": "teacher", "method": method, "training": TRAINING, "round_to": 1, **options})


def reads(model: nn.Module) -> list[bool]:
    """Of each hidden channel that is left, whether it reads the signal more than the noise."""
    weight = model[0].weight.detach().abs()
    return (weight[:, :2].sum(1) > weight[:, 2:].sum(1)).tolist()


def accuracy(model: nn.Module) -> float:
    return DATA.validation_metric(model)


def test_l1_zeroes_the_weights_that_read_noise() -> None:
    config = L1RegularisedParams(source="teacher", method="l1_regularised", penalty=2.5, training=FASTER)
    made = l1_regularised(half_useful(), config, data=DATA)
    weight = made.model[0].weight
    assert torch.all((weight[:4, :2] != 0).any(dim=1))
    assert int((weight[:, 2:] == 0).sum()) >= 14
    assert accuracy(made.model) > 0.95
    assert made.history.best_epoch == len(made.history.epochs) == 20


def test_weights_that_are_pruned_already_stay_zero() -> None:
    model = half_useful()
    with torch.no_grad():
        model[3].weight[0] = 0
    kept = hard_concrete(model, source(HardConcreteParams, "hard_concrete", penalty=0.001), data=DATA).model
    shrunk = l1_regularised(model, L1RegularisedParams(source="teacher", method="l1_regularised", training=TRAINING), data=DATA).model
    assert torch.all(kept[3].weight[0] == 0)
    assert torch.all(shrunk[3].weight[0] == 0)
    assert not torch.all(kept[3].weight[1] == 0)


def test_the_size_of_a_channel_is_that_of_all_it_owns() -> None:
    model = half_useful()
    (group,) = removable_groups(model, DATA.example)
    rows, bias, columns = model[0].weight, model[0].bias, model[3].weight
    expected = ((rows.square().sum(1) + bias.square() + columns.square().sum(0)) / (4 + 1 + 2)).sqrt()
    torch.testing.assert_close(channel_sizes(model, group), expected)


def test_the_weakest_channel_bears_sixteen_times_the_penalty_of_the_strongest() -> None:
    assert weakness(torch.tensor([0.0, 1.0, 2.0, 4.0])).tolist() == [1.0, 0.5, 0.25, 0.0625]
    assert weakness(torch.full((3,), 0.7)).tolist() == [1.0, 1.0, 1.0]


def test_group_lasso_removes_the_channels_of_noise() -> None:
    made = group_lasso(half_useful(), source(GroupLassoParams, "group_lasso", penalty=3.0), data=DATA)
    assert made.model[0].out_features == made.model[3].in_features <= 4
    assert all(reads(made.model))
    assert accuracy(made.model) > 0.95
    assert made.details["channels"] == {"0": [8, made.model[0].out_features]}


def test_network_slimming_removes_the_channels_of_noise_behind_a_batch_norm() -> None:
    config = source(NetworkSlimmingParams, "network_slimming", penalty=8.0, training=FASTER)
    made = network_slimming(half_useful(norms=True), config, data=DATA)
    assert made.model[0].out_features == made.model[1].num_features <= 4
    assert all(reads(made.model))
    assert accuracy(made.model) > 0.95


def test_hard_concrete_shuts_the_gates_of_noise() -> None:
    config = source(HardConcreteParams, "hard_concrete", penalty=0.5, gate_learning_rate=0.5)
    made = hard_concrete(half_useful(), config, data=DATA)
    assert made.model[0].out_features <= 4
    assert all(reads(made.model))
    assert accuracy(made.model) > 0.95
    assert not any("parametrizations" in name for name in made.model.state_dict())


def silenced(model: nn.Module, channels: Sequence[int]) -> nn.Module:
    """The blocks net with a few channels of its one group of coupled layers at zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("head"):
                parameter[list(channels)] = 0
            if "conv" in name:
                parameter[:, list(channels)] = 0
        model.head.weight.view(3, -1, 16)[:, list(channels)] = 0
    return model.eval()


@pytest.mark.parametrize(("round_to", "left"), [(1, 9), (4, 12), (16, 16)])
def test_channels_at_zero_go_in_multiples_and_the_outputs_stay(round_to: int, left: int) -> None:
    model = silenced(seeded("blocks", 16), [0, 2, 3, 5, 8, 9, 15])
    groups = removable_groups(model, IMAGE)
    worth = {group.layer: channel_sizes(model, group) for group in groups}
    made = without_silent(model, groups, worth, round_to=round_to)
    inputs = {"x": torch.randn(6, 1, 4, 4)}
    assert made.model.stem[0].out_channels == made.model.blocks[2].norm.num_features == left
    assert made.listings[0].rows[0][1:4] == (16, 9, left)
    torch.testing.assert_close(predict(made.model, inputs), predict(model, inputs))


def test_a_gate_starts_open_and_its_penalty_is_the_chance_that_it_is() -> None:
    gate = Gate("layer", 5, share=0.25, speed=10.0).eval()
    gate.draw()
    assert gate.values.tolist() == [1.0] * 6
    chance = 1 / (1 + math.exp(-(3 - 2 / 3 * math.log(0.1 / 1.1))))
    assert gate.expected().item() == pytest.approx(0.25 * chance, rel=1e-6)
    gate.train()
    torch.manual_seed(0)
    with torch.no_grad():
        gate.scaled.zero_()
    draws = torch.stack([drawn(gate) for _ in range(2000)])
    even = 1 / (1 + math.exp(2 / 3 * math.log(0.1 / 1.1)))
    assert (draws > 0).float().mean().item() == pytest.approx(even, abs=0.02)
    assert bool((draws == 1).any())


def drawn(gate: Gate) -> Tensor:
    gate.draw()
    return gate.values[:-1].detach()


@pytest.mark.parametrize("net", ["residual", "blocks"])
def test_a_shut_gate_is_the_same_as_no_channel(net: str) -> None:
    model = seeded(net, 16).eval()
    groups = removable_groups(model, IMAGE)
    student = gated(model, groups, speed=1.0)
    inputs = {"x": torch.randn(6, 1, 4, 4)}
    assert torch.equal(predict(student, inputs), predict(model, inputs))
    assert expected_share(student).item() == pytest.approx(0.99, abs=0.01)
    with torch.no_grad():
        for module in student.modules():
            if isinstance(module, Gate):
                module.scaled[::2] = -9.0
    gates = final_gates(student)
    made = without_silent(merged(student, model), groups, gates, round_to=1)
    assert [row[3] for row in made.listings[0].rows] == [group.channels // 2 for group in groups]
    torch.testing.assert_close(predict(made.model, inputs), predict(student, inputs), atol=1e-5, rtol=1e-4)


def test_what_has_no_batch_norm_of_its_own_stays_whole_and_is_named() -> None:
    normed = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    made = network_slimming(normed, source(NetworkSlimmingParams, "network_slimming", penalty=0.1), data=DATA)
    assert made.model[3].out_features == 8
    assert [(row[0], row[4]) for row in made.listings[0].rows if row[4]] == [("3", "a layer among them has no batch norm of its own")]
    with pytest.raises(StageError, match="network_slimming needs batch norms behind the layers; use group_lasso or hard_concrete"):
        network_slimming(half_useful(), source(NetworkSlimmingParams, "network_slimming"), data=DATA)


def test_a_penalty_that_leaves_nothing_is_an_error() -> None:
    with pytest.raises(StageError, match="the penalty left nothing that tells one input from another; lower penalty"):
        group_lasso(half_useful(), source(GroupLassoParams, "group_lasso", penalty=500.0), data=DATA)


def test_a_model_of_output_layers_alone_has_no_channels_to_remove() -> None:
    with pytest.raises(StageError, match="no channels of this model can be removed"):
        group_lasso(nn.Sequential(nn.Linear(4, 2)), source(GroupLassoParams, "group_lasso"), data=DATA)


def test_a_penalty_runs_all_its_epochs() -> None:
    with pytest.raises(ValidationError, match=r"training\.patience: all epochs of a penalty run"):
        source(GroupLassoParams, "group_lasso", training=Training(patience=3))


class ReadBefore(nn.Module):
    """A convolution that is read behind its batch norm, and before it too."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn, self.c, self.head = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, H, W] -> logits [N, 4]."""
        made = self.a(x)
        return (self.head(self.bn(made).relu()) + self.c(made)).mean(dim=(2, 3))


def test_slimming_leaves_channels_that_are_read_before_their_batch_norm() -> None:
    torch.manual_seed(0)
    data = method_data(ReadBefore(), torch.randn(32, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 4)
    with pytest.raises(StageError, match="network_slimming needs batch norms behind the layers"):
        network_slimming(ReadBefore(), NetworkSlimmingParams(source="teacher", method="network_slimming", training=TRAINING), data=data)
