"""Where a training computes: the CPU's bytes stay as they are, bfloat16 learns as well, and a GPU that is not there is refused."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.samples import Samples
from slimline.errors import ParamsError
from slimline.objectives.classification import classification
from slimline.params import MagnitudeParams, Recovery, Training
from slimline.training.data import TrainingData
from slimline.training.device import computed_on, device_of, why_no_gpu

needs_gpu = pytest.mark.skipif(bool(why_no_gpu()), reason=why_no_gpu() or "a GPU")
without_gpu = pytest.mark.skipif(not why_no_gpu(), reason="torch has a GPU here")
SETTINGS = {"epochs": 6, "batch_size": 16, "learning_rate": 0.02}
ALONE = """
import sys, torch
from tests.unit.test_device import SETTINGS, data, net
from slimline.params import Training
data().fitted(net(), Training(**SETTINGS, device="cpu"))
print("accelerate" in sys.modules)
"""


def data() -> TrainingData:
    """Three clouds of points in a plane."""
    generator = torch.Generator().manual_seed(1)
    targets = torch.arange(240) % 3
    centres = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, -2.0]])
    samples = Samples({"input": centres[targets] + 0.3 * torch.randn(240, 2, generator=generator)}, targets)
    return TrainingData(train=samples, validation=samples, objective=classification("abc"), metric="accuracy")


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))


def trained(**settings: object) -> tuple[nn.Module, list[float]]:
    model, history = data().fitted(net(), Training(**SETTINGS | settings))
    return model, [epoch.loss for epoch in history.epochs]


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@without_gpu
def test_the_cpu_is_what_it_is_without_being_named() -> None:
    (plain, losses), (named, same) = trained(), trained(device="cpu")
    assert equal(plain, named)
    assert losses == same


@pytest.mark.slow
def test_a_training_on_the_cpu_does_not_wait_for_accelerate() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_bfloat16_learns_as_float32_does_and_leaves_no_trace() -> None:
    plain, _ = trained(device="cpu")
    half, losses = trained(device="cpu", precision="bfloat16")
    again, _ = trained(device="cpu")
    assert all(value.dtype in (torch.float32, torch.int64) for value in half.state_dict().values())
    assert not equal(plain, half)
    assert torch.isfinite(torch.tensor(losses)).all()
    accuracy = [data().validation_metric(model) for model in (plain, half)]
    assert accuracy[1] == pytest.approx(accuracy[0], abs=0.02)
    assert half(data().train.inputs["input"]).dtype == torch.float32
    assert not {"forward", "_original_forward"} & set(half.__dict__)
    assert equal(plain, again)


def test_a_manifest_says_what_was_not_trained_on_the_cpu_in_float32() -> None:
    half = Recovery(precision="bfloat16", device="cpu", epochs=2)
    pruned = {"source": "teacher", "method": "magnitude", "fraction": 0.5}
    assert computed_on(half) == "cpu, bfloat16"
    assert computed_on(MagnitudeParams(**pruned, recover=half)) == "cpu, bfloat16"
    assert computed_on(MagnitudeParams(**pruned, recover=half.model_copy(update={"epochs": 0}))) is None
    assert computed_on(Training(device="cpu")) is None


@without_gpu
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert device_of("auto") == torch.device("cpu")
    with pytest.raises(ParamsError, match=r"device: cuda: torch .*; give auto or cpu"):
        trained(device="cuda")


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_trains_and_hands_back_a_model_of_the_cpu(precision: str) -> None:
    model, losses = trained(device="cuda", precision=precision)
    assert losses[-1] < losses[0]
    assert {value.device.type for value in model.state_dict().values()} == {"cpu"}
    assert data().validation_metric(model) > 0.95
    assert f"(cuda), {precision}" in str(computed_on(Training(device="cuda", precision=precision)))


@needs_gpu
def test_a_gpu_calibrates_to_the_same_statistics() -> None:
    model, inputs = net().eval(), data().train.inputs
    here, there = (collect_statistics(model, inputs, 32, device_of(place)) for place in ("cpu", "cuda"))
    for name, layer in here.layers.items():
        assert there.layers[name].maximum == pytest.approx(layer.maximum, rel=1e-4)
