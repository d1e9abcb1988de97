"""Distillation's loss by its formula, and what the training does and leaves alone."""

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.batch import Batch, Rows
from slimline.data.samples import Samples
from slimline.methods.distill.scratch import scratch
from slimline.methods.distill.soft_targets import soft_targets
from slimline.objectives.classification import classification
from slimline.params import ScratchParams, SoftTargetsParams
from slimline.training import taught
from slimline.training.data import TrainingData

SIDES = classification(("below", "above"))


def given(train: Samples, validation: Samples | None = None, **more: object) -> TrainingData:
    return TrainingData(train=train, validation=validation or train, objective=SIDES, metric="accuracy", **more)


def config(**more: object) -> SoftTargetsParams:
    return SoftTargetsParams(
        **{"source": "teacher", "method": "soft_targets", "epochs": 4, "batch_size": 16, "learning_rate": 0.05, **more}
    )


@pytest.fixture
def samples() -> Samples:
    """Points in a plane, labelled by the side they are on."""
    points = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    return Samples({"input": points}, (points.sum(1) > 0).long())


def net(seed: int, width: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.ReLU(), nn.Linear(width, 2))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_soft_loss_is_hintons_formula(temperature: float) -> None:
    student, teacher = np.random.default_rng(0).normal(size=(2, 6, 5))
    p, q = softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1)
    expected = temperature**2 * (p * np.log(p / q)).sum(axis=1).mean()
    found = SIDES.guidance(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
    assert float(found) == pytest.approx(expected)
    assert float(SIDES.guidance(torch.from_numpy(teacher), torch.from_numpy(teacher), temperature)) == pytest.approx(0, abs=1e-12)


def test_alpha_one_is_training_without_a_teacher(samples: Samples) -> None:
    data = given(samples, seed=3)
    alone = ScratchParams(source="teacher", method="scratch", control_of="small", epochs=4, batch_size=16, learning_rate=0.05)
    distilled, control = soft_targets(net(1), net(2), config(alpha=1.0), data=data), scratch(net(1), net(2), alone, data=data)
    assert all(torch.equal(value, control.model.state_dict()[name]) for name, value in distilled.model.state_dict().items())
    assert distilled.history == control.history


def test_alpha_zero_follows_the_teacher_even_where_the_labels_say_otherwise(samples: Samples) -> None:
    teacher = nn.Linear(2, 2)
    with torch.no_grad():
        teacher.weight.copy_(torch.tensor([[3.0, 3.0], [-3.0, -3.0]]))
        teacher.bias.zero_()
    told = Samples(samples.inputs, 1 - samples.targets)
    student = soft_targets(nn.Linear(2, 2), teacher, config(alpha=0.0, epochs=10), data=given(samples, told)).model
    assert given(samples, told).validation_metric(student) > 0.9


def test_teacher_sees_the_students_augmented_batch_in_evaluation_mode_and_stays_as_it_is(samples: Samples) -> None:
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net(2).train()

        def forward(self, input: Tensor) -> Tensor:
            assert not self.inner.training
            assert not torch.is_grad_enabled()
            seen.append(input.clone())
            return self.inner(input)

    teacher, student = Watching().train(), net(1)
    before = {name: value.clone() for name, value in [*teacher.state_dict().items(), *student.state_dict().items()]}
    made: list[Tensor] = []

    def augment(inputs: Batch, generator: torch.Generator) -> Batch:
        made.append(inputs["input"] + torch.rand(inputs["input"].shape, generator=generator))
        return {"input": made[-1]}

    soft_targets(student, teacher, config(epochs=1), data=given(samples, augment=augment))
    judged, *shown = seen
    assert len(shown) == len(made) == 4
    assert all(torch.equal(one, other) for one, other in zip(shown, made, strict=True))
    assert torch.equal(judged, samples.inputs["input"])
    assert teacher.training
    assert all(parameter.requires_grad for parameter in teacher.parameters())
    after = [*teacher.state_dict().items(), *student.state_dict().items()]
    assert all(torch.equal(value, before[name]) for name, value in after)


class Counting(nn.Module):
    """A net that counts the samples that it is asked for."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.asked = inner, []

    def forward(self, input: Tensor) -> Tensor:
        self.asked.append(len(input))
        return self.inner(input)

    def __deepcopy__(self, memo: dict[int, object]) -> "Counting":
        return self


@pytest.mark.parametrize("held_bytes", [taught.HELD_BYTES, 0])
def test_without_augmentation_the_teacher_is_asked_once_and_the_student_comes_out_as_before(
    samples: Samples, held_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taught, "HELD_BYTES", held_bytes)
    once, anew = Counting(net(2)), Counting(net(2))
    kept = soft_targets(net(1), once, config(), data=given(samples))
    fresh = soft_targets(net(1), anew, config(), data=given(samples, augment=lambda inputs, _generator: inputs))
    assert once.asked == [64, 64]
    assert len(anew.asked) == 1 + 4 * 4
    losses = [[epoch.validation_loss for epoch in made.history.epochs] for made in (kept, fresh)]
    assert losses[0] == pytest.approx(losses[1])
    assert all(torch.allclose(value, fresh.model.state_dict()[name], atol=1e-5) for name, value in kept.model.state_dict().items())


def test_a_teacher_whose_answers_may_depend_on_the_batch_is_asked_each_time(samples: Samples) -> None:
    class Filled(Samples):
        def batches(self, order: Iterable[Rows]) -> Iterator[Samples]:
            for place, batch in enumerate(super().batches(order)):
                yield Samples({"input": functional.pad(batch.inputs["input"], (0, place % 2))}, batch.targets)

    longest = Filled({"input": samples.inputs["input"].repeat(8, 1)}, samples.targets.repeat(8))
    summing = Counting(nn.Identity())
    with taught.taught(given(longest), summing, config()) as (found, _ask):
        assert found.train is longest
    teacher = nn.Linear(2, 2)
    with taught.taught(given(samples), teacher, config()) as (found, ask):
        (batch,) = found.train.batches([torch.tensor([5, 3])])
        assert torch.allclose(ask(batch), teacher(samples.inputs["input"][[5, 3]]))
