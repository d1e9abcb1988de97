"""A training that is stopped and begun again gives what it would have given, bit for bit."""

import math
from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimline.data.samples import Samples
from slimline.methods.distill.soft_targets import soft_targets
from slimline.objectives.classification import classification
from slimline.params import Recovery, SoftTargetsParams, Training
from slimline.training.checkpoints import Checkpoints
from slimline.training.data import TrainingData
from slimline.training.fit import OnEpoch, fit
from slimline.training.history import Epoch, FitHistory
from slimline.training.lora import fit_updates

CLASSES = classification("abc")
INPUTS = torch.randn(90, 6, generator=torch.Generator().manual_seed(2))
TARGETS = (INPUTS[:, 0] > 0).long() + (INPUTS[:, 1] > 0).long()
SPLIT = Samples({"input": INPUTS}, TARGETS)
SETTINGS = {"objective": CLASSES, "metric": "accuracy", "validation": SPLIT, "seed": 5}


class Memory(Checkpoints):
    """Checkpoints in memory, after every epoch unless told otherwise."""

    def __init__(self, every_s: float = 0.0) -> None:
        super().__init__(every_s)
        self.kept: dict[str, dict[str, Tensor]] = {}

    def load(self, name: str) -> Mapping[str, Tensor] | None:
        return self.kept.get(name)

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        self.kept[name] = {part: value.clone() for part, value in tensors.items()}

    def after_a_stop(self) -> "Memory":
        """What another process finds."""
        again = Memory(self.every_s)
        again.kept = dict(self.kept)
        return again


def net() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, 3))


def config(**more: Any) -> Training:
    return Training.model_validate({"epochs": 6, "batch_size": 16, "learning_rate": 0.03} | more)


def trained(checkpoints: Checkpoints | None = None, stop_after: int | None = None, **more: Any) -> tuple[nn.Module, FitHistory]:
    def stop(epoch: Epoch, _: int) -> None:
        if epoch.number == stop_after:
            raise KeyboardInterrupt

    given = {"model": net(), "config": config(), "on_epoch": stop, **SETTINGS, **more}
    return fit(train=SPLIT, checkpoints=checkpoints, **given)


def noisy(batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    return {name: value + 0.1 * torch.randn(value.shape, generator=generator) for name, value in batch.items()}


def same(one: tuple[nn.Module, FitHistory], other: tuple[nn.Module, FitHistory]) -> bool:
    states = [found[0].state_dict() for found in (one, other)]
    return one[1] == other[1] and all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"keep": "last"},
        {"augment": noisy},
        {"config": config(patience=1, learning_rate=0.3)},
        {"config": config(steps=50, batch_size=40)},
        {"first_epoch": 3},
        {"penalty": lambda model: 0.01 * model[0].weight.abs().sum()},
        {"masks": {"0.weight": torch.arange(144).view(24, 6) % 2 == 0}},
        {"loss": lambda outputs, batch: nn.functional.cross_entropy(outputs, batch.targets, label_smoothing=0.1)},
    ],
    ids=["plain", "last", "augmented", "patience", "steps", "later", "penalty", "masks", "loss"],
)
def test_a_training_that_was_stopped_after_any_epoch_ends_with_the_same_bytes(more: dict[str, Any]) -> None:
    expected = trained(**more)
    for last in [epoch.number for epoch in expected[1].epochs]:
        checkpoints = Memory()
        with pytest.raises(KeyboardInterrupt):
            trained(checkpoints, stop_after=last, **more)
        assert len(checkpoints.kept) == (last > more.get("first_epoch", 1)), "an epoch is kept once it has been announced"
        assert same(trained(checkpoints.after_a_stop(), **more), expected)


def test_low_rank_updates_go_on_too() -> None:
    wanted = Recovery.model_validate(config().model_dump() | {"lora_rank": 2})

    def updated(checkpoints: Memory | None, on_epoch: OnEpoch | None = None) -> tuple[nn.Module, FitHistory]:
        return fit_updates(net(), SPLIT, wanted, checkpoints=checkpoints, on_epoch=on_epoch, **SETTINGS)

    checkpoints = Memory()
    turns = count()
    with pytest.raises(KeyboardInterrupt):
        updated(checkpoints, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt) if next(turns) == 3 else None)
    assert same(updated(checkpoints.after_a_stop()), updated(None))


def test_one_that_has_ended_is_not_trained_again() -> None:
    checkpoints = Memory()
    expected = trained(checkpoints)
    (kept,) = checkpoints.kept.values()
    assert not any(name.startswith(("model/", "moments/")) for name in kept), "of one that has ended only the result is kept"
    assert same(trained(checkpoints.after_a_stop(), stop_after=6), expected), "no epoch runs, so nothing stops it"


def test_of_two_that_begin_alike_each_has_its_own() -> None:
    checkpoints, wrong = Memory(), lambda outputs, batch: nn.functional.cross_entropy(outputs, 2 - batch.targets)
    both = trained(checkpoints), trained(checkpoints, loss=wrong)
    assert len(checkpoints.kept) == 2
    again = checkpoints.after_a_stop()
    assert same(trained(again), both[0])
    assert same(trained(again, loss=wrong), both[1])


OTHERS = [{"seed": 6}, {"config": config(learning_rate=0.02)}, {"model": nn.Sequential(*net(), nn.ReLU())}, {"keep": "last"}]


@pytest.mark.parametrize("other", OTHERS)
def test_another_training_does_not_go_on_from_it(other: dict[str, Any]) -> None:
    checkpoints = Memory()
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoints, stop_after=4)
    assert same(trained(checkpoints.after_a_stop(), **other), trained(**other))


def test_what_counts_steps_of_its_own_begins_anew() -> None:
    checkpoints = Memory()
    trained(checkpoints, after_step=lambda _model, _rate: None)
    assert not checkpoints.kept


def test_a_short_training_is_not_kept() -> None:
    checkpoints = Memory(every_s=math.inf)
    trained(checkpoints)
    assert not checkpoints.kept


def taught(checkpoints: Checkpoints | None, stop_after: int | None = None) -> tuple[nn.Module, FitHistory]:
    def stop(epoch: Epoch, _: int) -> None:
        if epoch.number == stop_after:
            raise KeyboardInterrupt

    asked = {"synthetic": {"kind": "mixup", "samples": 64}, "epochs": 4, "batch_size": 16, "learning_rate": 0.03}
    given = SoftTargetsParams.model_validate({"source": "teacher", "method": "soft_targets", **asked})
    data = TrainingData(train=SPLIT, checkpoints=checkpoints, on_epoch=stop, **SETTINGS)
    found = soft_targets(net(), net().eval(), given, data=data)
    return found.model, found.history


def test_samples_that_are_made_up_beside_go_on_too() -> None:
    checkpoints = Memory()
    with pytest.raises(KeyboardInterrupt):
        taught(checkpoints, stop_after=3)
    assert len(checkpoints.kept) == 1
    assert same(taught(checkpoints.after_a_stop()), taught(None))
