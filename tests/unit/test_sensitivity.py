"""Sensitivity: the layer that matters shows, and every change is of that layer alone."""

import pytest
import torch
from torch import nn

from slimline.calibration.sensitivity import plain, sensitivity
from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import Rows
from slimline.data.samples import Samples
from slimline.methods.prune.magnitude import magnitude
from slimline.objectives import Metric
from slimline.objectives.classification import Classification
from slimline.params import MagnitudeParams
from slimline.training.fit import predict
from tests.method_data import TEN, method_data
from tests.weight_by_function import Autoencoder


@pytest.fixture
def net() -> nn.Module:
    """A 3x3 convolution with batch norm, a wide Linear layer of low rank, and a head."""
    torch.manual_seed(0)
    wide = nn.Linear(8 * 16, 64)
    with torch.no_grad():
        wide.weight.copy_(torch.randn(64, 4) @ torch.randn(4, 128) / 20)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), wide, nn.ReLU(), nn.Linear(64, 3)
    ).eval()


@pytest.fixture
def samples(net: nn.Module) -> Samples:
    """Noise, labelled as the net itself says, so that it is right on all of it."""
    inputs = {"input": torch.randn(60, 1, 4, 4, generator=torch.Generator().manual_seed(2))}
    return Samples(inputs, predict(net, inputs).argmax(1))


def measured(net: nn.Module, samples: Samples) -> dict[str, dict[str, dict[str, float] | None]]:
    statistics = collect_statistics(net, samples.inputs, 20)
    return plain(sensitivity(net, statistics, calibration=samples.inputs, validation=samples, objective=TEN, metric="accuracy"))


def test_every_layer_has_every_change_that_is_possible(net: nn.Module, samples: Samples) -> None:
    effects = measured(net, samples)
    assert list(effects) == ["0", "4", "6"]
    assert all(kinds["quantize"] and kinds["prune"] for kinds in effects.values())
    assert effects["0"]["factorize"] is None, "a 3x3 convolution is no plain matrix"
    assert effects["4"]["factorize"] is not None


def test_a_layer_whose_weight_a_function_reads_too_is_not_factorized() -> None:
    torch.manual_seed(0)
    net = Autoencoder().eval()
    inputs = {"x": torch.randn(60, 48, generator=torch.Generator().manual_seed(2))}
    effects = measured(net, Samples(inputs, predict(net, inputs).argmax(1)))
    assert {name: kinds["factorize"] is None for name, kinds in effects.items()} == {"encoder": True, "inner": False, "head": False}


def test_int8_moves_the_outputs_least_and_never_by_nothing(net: nn.Module, samples: Samples) -> None:
    for kinds in measured(net, samples).values():
        assert 0 < kinds["quantize"]["output_change"] < kinds["prune"]["output_change"]


def test_pruning_one_layer_is_magnitude_pruning_of_it(net: nn.Module, samples: Samples) -> None:
    config = MagnitudeParams(source="teacher", method="magnitude", fraction=0.5, scope="local")
    reference = nn.Sequential(net[0], *net[2:]).eval()  # without batch norm, nothing is recalibrated
    by_hand = nn.Sequential(
        *reference[:5], magnitude(reference[5], config, data=method_data(nn.Linear(128, 64), torch.zeros(2, 128))).model
    ).eval()
    effects = measured(reference, samples)
    expected, outputs = predict(by_hand, samples.inputs), predict(reference, samples.inputs)
    change = float((expected - outputs).norm() / outputs.norm())
    right = [float((one.argmax(1) == samples.targets).float().mean()) for one in (outputs, expected)]
    assert effects["5"]["prune"]["output_change"] == pytest.approx(change, rel=1e-6)
    assert effects["5"]["prune"]["drop"] == pytest.approx(right[0] - right[1])


def test_half_of_the_channels_are_gone_with_their_biases_and_no_others(net: nn.Module, samples: Samples) -> None:
    reference = nn.Sequential(net[0], *net[2:]).eval()
    with torch.no_grad():
        reference[3].weight[::2] *= 0.01
        reference[3].bias.fill_(1.0)
    narrow, rest = nn.Linear(128, 32), nn.Linear(32, 3)
    with torch.no_grad():
        narrow.weight.copy_(reference[3].weight[1::2])
        narrow.bias.copy_(reference[3].bias[1::2])
        rest.weight.copy_(reference[5].weight[:, 1::2])
        rest.bias.copy_(reference[5].bias)
    removed = nn.Sequential(*reference[:3], narrow, reference[4], rest).eval()
    expected, outputs = predict(removed, samples.inputs), predict(reference, samples.inputs)
    found = measured(reference, samples)["3"]["channels"]
    assert found is not None
    assert found["output_change"] == pytest.approx(float((expected - outputs).norm() / outputs.norm()), rel=1e-4)


def test_a_layer_of_one_channel_cannot_lose_half_of_them(samples: Samples) -> None:
    torch.manual_seed(3)
    single = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(4, 3)).eval()
    effects = measured(single, samples)
    assert effects["0"]["channels"] is None
    assert effects["2"]["channels"] is not None


def test_a_layer_that_decides_everything_shows_a_drop(net: nn.Module, samples: Samples) -> None:
    with torch.no_grad():
        net[4].weight[:, :] = torch.randn(64, 128, generator=torch.Generator().manual_seed(9)) / 12
    full_rank = Samples(samples.inputs, predict(net, samples.inputs).argmax(1))
    effects = measured(net, full_rank)
    assert effects["4"]["prune"]["output_change"] > 3 * effects["4"]["quantize"]["output_change"]
    assert max(kinds["prune"]["drop"] for kinds in effects.values()) > 0


def test_the_model_is_left_alone_and_the_result_repeats(net: nn.Module, samples: Samples) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert measured(net, samples) == measured(net, samples)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_layers_of_a_transformer_whose_weights_torch_reads_itself_are_not_factorized() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    net = nn.Sequential(nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Flatten(), nn.Linear(64, 3)).eval()
    inputs = {"input": torch.randn(32, 4, 16, generator=torch.Generator().manual_seed(1))}
    samples = Samples(inputs, torch.arange(32) % 3)
    effects = sensitivity(
        net, collect_statistics(net, inputs, 16), calibration=inputs, validation=samples, objective=TEN, metric="accuracy"
    )
    assert effects["0.layers.0.linear1"]["factorize"] is None
    assert effects["0.layers.0.linear1"]["prune"] is not None


def test_the_error_of_a_drop_is_that_of_the_mean_of_paired_differences(net: nn.Module, samples: Samples) -> None:
    """By hand for the layer whose pruning is magnitude pruning."""
    config = MagnitudeParams(source="teacher", method="magnitude", fraction=0.5, scope="local")
    with torch.no_grad():
        net[4].weight[:, :] = torch.randn(64, 128, generator=torch.Generator().manual_seed(9)) / 12
    whole = nn.Sequential(net[0], *net[2:]).eval()
    pruned = nn.Sequential(
        *whole[:3], magnitude(whole[3], config, data=method_data(whole[3], torch.zeros(2, 128))).model, *whole[4:]
    ).eval()
    wrong, more = ((predict(one, samples.inputs).argmax(1) != samples.targets).double() for one in (whole, pruned))
    found = measured(whole, samples)["3"]["prune"]
    assert found["drop"] == pytest.approx(float((more - wrong).mean()))
    assert found["error"] == pytest.approx(float((more - wrong).std() / len(samples) ** 0.5))
    assert found["error"] > 0


def test_no_more_samples_of_validation_are_read_than_asked_for(net: nn.Module, samples: Samples) -> None:
    asked: list[object] = []

    class Watched(Samples):
        def take(self, rows: Rows) -> Samples:
            asked.append(rows)
            return super().take(rows)

    given = {"calibration": samples.inputs, "objective": TEN, "metric": "accuracy", "samples": 20}
    statistics = collect_statistics(net, samples.inputs, 20)
    few = sensitivity(net, statistics, validation=Watched(samples.inputs, samples.targets), **given)
    assert asked[-1] == slice(0, 20)
    assert set(map(str, asked)) <= {"slice(0, 1, None)", "slice(0, 20, None)"}  # one shows how large an output is
    assert few == sensitivity(net, statistics, validation=samples.take(slice(0, 20)), **given)


def test_a_drop_is_worse_by_also_where_less_is_better(net: nn.Module, samples: Samples) -> None:
    class Wrong(Classification):
        """Judged by the share that is wrong."""

    wrong = Metric(lambda scores: float(scores["error"].mean()), better="lower")
    objective = Wrong(TEN.labels, metrics={**TEN.metrics, "wrong": wrong})
    given = {"calibration": samples.inputs, "validation": samples, "objective": objective}
    statistics = collect_statistics(net, samples.inputs, 20)
    by_right, by_wrong = (plain(sensitivity(net, statistics, metric=metric, **given)) for metric in ("accuracy", "wrong"))
    assert [kinds["prune"]["drop"] for kinds in by_wrong.values()] == pytest.approx([kinds["prune"]["drop"] for kinds in by_right.values()])
