"""Calibration statistics against what numpy says of the same values."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slimline.artifact.folder import checksums
from slimline.calibration.statistics import BINS, collect_statistics, load_statistics, save_statistics
from slimline.errors import ArtifactError, StageError


@pytest.fixture
def net() -> nn.Module:
    """A 3x3 convolution, a strided 1x1 convolution and a Linear layer."""
    torch.manual_seed(0)
    convs = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 1, stride=2), nn.ReLU()]
    return nn.Sequential(*convs, nn.Flatten(), nn.Linear(6 * 9, 3))


@pytest.fixture
def inputs() -> torch.Tensor:
    """Ten images of 6x6 pixels."""
    return torch.randn(10, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def test_ranges_and_percentiles_are_those_of_the_values(net: nn.Module, inputs: torch.Tensor) -> None:
    statistics = collect_statistics(net, {"input": inputs}, 4)
    with torch.no_grad():
        seen = {"0": inputs, "2": net[:2](inputs), "5": net[:5](inputs)}
    assert list(statistics.layers) == list(seen)
    for name, values in seen.items():
        layer, flat = statistics.layers[name], values.numpy().ravel()
        bin_width = (flat.max() - flat.min()) / BINS
        assert (layer.minimum, layer.maximum, layer.values) == (flat.min(), flat.max(), flat.size)
        assert int(layer.histogram.sum()) == flat.size
        ordered = np.sort(flat)
        for percent in (1.0, 50.0, 99.0):
            index = min(int(percent / 100 * flat.size), flat.size - 1)
            assert ordered[max(index - 1, 0)] - bin_width <= layer.percentile(percent) <= ordered[min(index + 1, flat.size - 1)] + bin_width
        assert (layer.percentile(0), layer.percentile(100)) == (layer.minimum, layer.maximum)


def test_second_moments_stand_for_linear_and_pointwise_layers_only(net: nn.Module, inputs: torch.Tensor) -> None:
    statistics = collect_statistics(net, {"input": inputs}, 4)
    with torch.no_grad():
        strided = net[:2](inputs)[:, :, ::2, ::2].permute(0, 2, 3, 1).reshape(-1, 4)
        flat = net[:5](inputs)
    assert statistics.layers["0"].second_moment is None
    torch.testing.assert_close(statistics.layers["2"].second_moment, strided.T @ strided / len(strided))
    torch.testing.assert_close(statistics.layers["5"].second_moment, flat.T @ flat / len(flat))


def test_says_how_much_really_ran(net: nn.Module, inputs: torch.Tensor) -> None:
    statistics = collect_statistics(net, {"input": inputs}, 4)
    assert (statistics.batches_run, statistics.samples_run, statistics.batch_size) == (3, 10, 4)


def test_leaves_the_model_alone_and_a_layer_that_never_ran_out(inputs: torch.Tensor) -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle, self.norm = nn.Conv2d(1, 2, 1), nn.Linear(2, 2), nn.BatchNorm2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.used(x))

    model = Idle().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert list(collect_statistics(model, {"x": inputs}, 5).layers) == ["used"]
    assert model.training
    assert not model.used._forward_pre_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_constant_input_has_a_range_of_one_value() -> None:
    statistics = collect_statistics(nn.Linear(2, 1), {"input": torch.full((3, 2), 7.0)}, 2)
    layer = statistics.layers[""]
    assert (layer.minimum, layer.maximum, layer.percentile(50), layer.percentile(99.9)) == (7.0, 7.0, 7.0, 7.0)


def test_round_trip_is_equal_and_its_bytes_are_the_same_twice(net: nn.Module, inputs: torch.Tensor, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_statistics(tmp_path / name, collect_statistics(net, {"input": inputs}, 4))
    assert checksums(tmp_path / "a") == checksums(tmp_path / "b")
    loaded, fresh = load_statistics(tmp_path / "a"), collect_statistics(net, {"input": inputs}, 4)
    assert list(loaded.layers) == list(fresh.layers)
    assert loaded.batches_run == fresh.batches_run
    for name, layer in fresh.layers.items():
        assert loaded.layers[name].percentiles == layer.percentiles
        assert torch.equal(loaded.layers[name].histogram, layer.histogram)


def test_damaged_tensors_are_named(net: nn.Module, inputs: torch.Tensor, tmp_path: Path) -> None:
    save_statistics(tmp_path, collect_statistics(net, {"input": inputs}, 4))
    path = tmp_path / "statistics.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=r"statistics\.safetensors"):
        load_statistics(tmp_path)


@pytest.mark.parametrize(("samples", "words"), [(torch.empty(0, 2), "no samples"), (torch.tensor([[1.0, float("nan")]]), "not finite")])
def test_refuses_nothing_and_nonsense(samples: torch.Tensor, words: str) -> None:
    with pytest.raises(StageError, match=words):
        collect_statistics(nn.Sequential(nn.Linear(2, 2)), {"input": samples}, 2)


def test_each_batch_has_its_own_ends(net: nn.Module, inputs: torch.Tensor, tmp_path: Path) -> None:
    save_statistics(tmp_path, collect_statistics(net, {"input": inputs}, 4))
    layer = load_statistics(tmp_path).layers["0"]
    batches = torch.split(inputs, 4)
    assert torch.equal(layer.batch_minimums, torch.stack([batch.min() for batch in batches]))
    assert torch.equal(layer.batch_maximums, torch.stack([batch.max() for batch in batches]))
