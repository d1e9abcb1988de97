"""The training loop, and batch norm recalibration."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from slimline.data.batch import Batch
from slimline.data.samples import Samples
from slimline.methods.recalibrate import recalibrate_batchnorm
from slimline.objectives.classification import classification
from slimline.params import Training
from slimline.training.fit import fit, predict


@pytest.fixture
def blobs() -> Samples:
    generator = torch.Generator().manual_seed(1)
    targets = torch.arange(120) % 3
    centres = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, -2.0]])
    return Samples({"input": centres[targets] + 0.3 * torch.randn(120, 2, generator=generator)}, targets)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def trained(model: nn.Module, samples: Samples, **changes: object) -> tuple[nn.Module, object]:
    options: dict[str, object] = {"objective": classification("abc"), "metric": "accuracy", "validation": samples}
    config = Training(epochs=6, batch_size=16, learning_rate=0.02)
    return fit(model, samples, changes.pop("config", config), **(options | changes))


def test_it_learns_and_leaves_its_argument(model: nn.Module, blobs: Samples) -> None:
    before = copy.deepcopy(model.state_dict())
    learnt, history = trained(model, blobs)
    assert (predict(learnt, blobs.inputs).argmax(1) == blobs.targets).float().mean() > 0.97
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [epoch.number for epoch in history.epochs] == [1, 2, 3, 4, 5, 6]
    assert not learnt.training


def test_same_seed_same_weights(model: nn.Module, blobs: Samples) -> None:
    first, second, other = (trained(model, blobs, seed=seed)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_masked_weights_stay_zero(model: nn.Module, blobs: Samples) -> None:
    mask = torch.rand(16, 2) > 0.5
    with torch.no_grad():
        model[0].weight.mul_(mask)
    learnt, _ = trained(model, blobs, masks={"0.weight": mask})
    assert torch.all(learnt[0].weight[~mask] == 0)
    assert torch.all(learnt[0].weight[mask] != 0)


def test_no_epochs_is_a_copy(model: nn.Module, blobs: Samples) -> None:
    same, history = trained(model, blobs, config=Training(epochs=0))
    assert same is not model
    assert history.epochs == ()
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in model.state_dict().items())


def harm(outputs: torch.Tensor, batch: Samples) -> torch.Tensor:
    """Trains towards wrong answers, and is judged by right ones (without gradients, as on validation)."""
    right = functional.cross_entropy(outputs, batch.targets)
    return -right if outputs.requires_grad else right


def test_training_that_only_harms_gives_the_model_back(model: nn.Module, blobs: Samples) -> None:
    same, history = trained(model, blobs, config=Training(epochs=3, learning_rate=0.02), loss=harm)
    assert (history.best_epoch, len(history.epochs)) == (0, 3)
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in model.state_dict().items())
    assert all(value.grad is None for value in same.parameters())


def test_patience_stops(model: nn.Module, blobs: Samples) -> None:
    _, history = trained(model, blobs, config=Training(epochs=9, learning_rate=0.02, patience=2), loss=harm)
    assert (history.best_epoch, len(history.epochs)) == (0, 2)


def test_the_epoch_with_the_lowest_validation_loss_is_kept(model: nn.Module, blobs: Samples) -> None:
    learnt, history = trained(model, blobs, config=Training(epochs=8, batch_size=16, learning_rate=0.5))
    kept = functional.cross_entropy(predict(learnt, blobs.inputs), blobs.targets).item()
    assert kept == pytest.approx(min(epoch.validation_loss for epoch in history.epochs))
    assert history.epochs[history.best_epoch - 1].validation_loss == pytest.approx(kept)


def test_a_training_set_smaller_than_a_batch_still_trains(model: nn.Module, blobs: Samples) -> None:
    few = blobs.take(slice(0, 9))
    _, history = trained(model, few, config=Training(epochs=2, batch_size=64))
    assert len(history.epochs) == 2


def test_a_penalty_is_trained_against_but_not_recorded(model: nn.Module, blobs: Samples) -> None:
    def size(net: nn.Module) -> torch.Tensor:
        return net[0].weight.abs().mean() + net[3].weight.abs().mean()

    free, plain = trained(model, blobs)
    held, history = trained(model, blobs, penalty=lambda net: 10 * size(net))
    assert size(held) < 0.8 * size(free)
    assert history.epochs[0].loss < 2 * plain.epochs[0].loss


def test_weights_are_changed_after_each_step_and_the_last_epoch_can_be_kept(model: nn.Module, blobs: Samples) -> None:
    rates: list[float] = []

    def flatten(net: nn.Module, learning_rate: float) -> None:
        rates.append(learning_rate)
        net[3].weight.zero_()

    last, history = trained(model, blobs, config=Training(epochs=3, batch_size=20, learning_rate=0.05), after_step=flatten, keep="last")
    assert history.best_epoch == len(history.epochs) == 3
    assert torch.all(last[3].weight == 0)
    assert len(rates) == 18
    assert max(rates) == pytest.approx(0.05, rel=0.05)
    assert rates[-1] < 0.1 * max(rates)


def test_the_callers_random_state_is_left_alone(model: nn.Module, blobs: Samples) -> None:
    before = torch.random.get_rng_state()
    trained(model, blobs)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_recalibration_measures_the_statistics_of_the_inputs(model: nn.Module) -> None:
    inputs = torch.randn(256, 2) * 5 + 3
    fresh = recalibrate_batchnorm(model, {"input": inputs}, batch_size=256)
    hidden = model[0](inputs)
    assert torch.allclose(fresh[1].running_mean, hidden.mean(0), atol=1e-4)
    assert torch.allclose(fresh[1].running_var, hidden.var(0), rtol=1e-3)
    assert fresh[1].momentum == model[1].momentum == 0.1
    assert torch.equal(model[1].running_mean, torch.zeros(16))
    assert torch.equal(fresh[0].weight, model[0].weight)


def test_entering_later_sees_the_batches_that_the_whole_training_sees_then(model: nn.Module, blobs: Samples) -> None:
    seen: list[torch.Tensor] = []

    def loss(outputs: torch.Tensor, batch: Samples) -> torch.Tensor:
        if outputs.requires_grad:
            seen.append(batch.inputs["input"].detach().clone())
        return functional.cross_entropy(outputs, batch.targets)

    def noisy(inputs: Batch, generator: torch.Generator) -> Batch:
        return {name: value + torch.randn(value.shape, generator=generator) for name, value in inputs.items()}

    trained(model, blobs, loss=loss, augment=noisy)
    whole, seen[:] = list(seen), []
    trained(model, blobs, loss=loss, augment=noisy, first_epoch=3)
    assert len(seen) == len(whole) * 4 // 6
    assert all(torch.equal(one, other) for one, other in zip(seen, whole[-len(seen) :], strict=True))
