"""Train a model, or bring one back after an edit: AdamW on a warm-up and cosine schedule, best epoch on validation kept.

The best epoch is the one with the lowest loss on validation: a small split saturates in accuracy, and the epoch that got
one more sample right by luck is not the best one.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from slimline.data.batch import Batch, Tensors, clone, count, joined, moved, split, tensors
from slimline.data.samples import Samples, Split, head, in_order
from slimline.errors import Diverged
from slimline.objectives import Objective, Scores, joined_scores, metric_of
from slimline.params import Training
from slimline.training.device import CPU, cpu_threads, device_under, placed

Loss = Callable[[Tensors, Samples], Tensor]
"""(outputs, the batch as the model saw it) -> scalar."""
Augment = Callable[[Batch, torch.Generator], Batch]
Penalty = Callable[[nn.Module], Tensor]
"""(the model in training) -> scalar."""
AfterStep = Callable[[nn.Module, float], None]
"""Changes the model in training, in place, without gradients, after a step of the given learning rate."""
WARM_UP = 0.2
BATCH_SIZE = 256
"""Samples at a time where nothing is trained."""
HELD_BYTES = 256_000_000
"""Outputs that are held at a time, where they may be large."""
RUN_BYTES = 4_000_000
"""Inputs that run through a model at a time where nobody says how many: what is computed of them takes many times as much."""


@dataclass(frozen=True)
class Epoch:
    """One epoch: its number from 1 (0: the model as it came), mean training loss, and loss and metric on validation."""

    number: int
    loss: float
    validation_loss: float
    metric: float


@dataclass(frozen=True)
class FitHistory:
    """Every epoch that ran, and which one was kept (0, or the one before the first: the model as it came)."""

    epochs: tuple[Epoch, ...] = ()
    best_epoch: int = 0


def learning_rates(config: Training, samples: int) -> tuple[float, ...]:
    """The learning rate of every step of a training on so many samples."""
    steps = config.epochs * steps_per_epoch(samples, config)
    return tuple(config.learning_rate * _one_cycle(step / steps) for step in range(steps))


@dataclass(frozen=True)
class _Shaping:
    """What training is held to beside the loss."""

    augment: Augment
    masks: Mapping[str, Tensor]
    penalty: Penalty | None
    after_step: AfterStep | None

    def change_(self, model: nn.Module, learning_rate: float) -> None:
        with torch.no_grad():
            if self.after_step:
                self.after_step(model, learning_rate)
            for name, mask in self.masks.items():
                model.get_parameter(name).masked_fill_(mask.logical_not(), 0.0)


def fit(
    model: nn.Module,
    train: Split,
    config: Training,
    *,
    objective: Objective,
    metric: str,
    validation: Split,
    loss: Loss | None = None,
    augment: Augment | None = None,
    seed: int = 0,
    masks: Mapping[str, Tensor] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    penalty: Penalty | None = None,
    after_step: AfterStep | None = None,
    keep: Literal["best", "last"] = "best",
    first_epoch: int = 1,
) -> tuple[nn.Module, FitHistory]:
    """Return a trained copy of `model` in evaluation mode, with the weights of its best epoch, and the history.

    The epoch with the lowest validation loss is kept; where none is as good as the model that came in, that one is. Stops
    when `config.patience` epochs brought nothing better.
    `metric` is the objective's one that the history shows. `loss` stands in for the objective's own, in training and for choosing.
    `masks` names parameters whose masked-out (False) entries stay zero. Zero epochs return a plain copy.
    `penalty` is added to the loss of each batch (the history has the loss without it), `after_step` changes the weights after
    each step; both see the model on the device that it is trained on. `keep: last` is for training that makes a model smaller as it
    goes: all epochs run, and the last one is kept. `first_epoch` enters the schedule and the order of batches later, for weights that
    have had the epochs before it. Raises Diverged at the epoch where a loss is NaN or infinite.
    """
    model = copy.deepcopy(model).eval()
    if config.epochs == 0:
        return model, FitHistory()
    asked: Loss = loss or (lambda outputs, batch: objective.loss(outputs, batch.targets))
    judge = partial(_judged, validation=validation, loss=asked, objective=objective, metric=metric, config=config)
    trained = partial(_fit, seed=seed, on_epoch=on_epoch, keep=keep, first_epoch=first_epoch)
    with cpu_threads(config.threads), placed(model, config) as device:
        shaping = _Shaping(augment or _unchanged, {name: mask.to(device) for name, mask in (masks or {}).items()}, penalty, after_step)
        with torch.random.fork_rng(devices=[] if device == CPU else [device]):
            return trained(model, train, config, loss=asked, judge=judge, shaping=shaping, device=device)


def steps_per_epoch(count: int, config: Training) -> int:
    """Whole batches in `count` samples, at least one: a short last one is dropped, since batch norm cannot take a single sample.

    Where the config says how many steps there are in all, an epoch is an equal part of them.
    """
    if config.steps is not None:
        return max(1, math.ceil(config.steps / max(1, config.epochs)))
    return max(1, count // min(config.batch_size, count))


def predict(model: nn.Module, inputs: Batch, batch_size: int | None = None) -> Tensors:
    """Outputs [N, …] of a model in evaluation mode, without gradients, on the CPU; the model's own mode is left as it was."""
    was_training, device = model.training, device_under(model)
    model.eval()
    with torch.inference_mode():
        outputs: Tensors = joined([moved(model(**moved(batch, device)), CPU) for batch in split(inputs, batch_size or _fitting(inputs))])
    model.train(was_training)
    return clone(outputs)


def _fitting(inputs: Batch) -> int:
    """How many samples run at a time: of large ones fewer."""
    sample_bytes = sum(value.nbytes for value in inputs.values()) // max(1, count(inputs))
    return max(1, min(BATCH_SIZE, RUN_BYTES // max(1, sample_bytes)))


def held_together(model: nn.Module, split: Split, most: int = BATCH_SIZE, held_bytes: int = HELD_BYTES) -> int:
    """For how many samples of a split outputs are held at a time: `most`, or fewer where each is large.

    Those of tokens may be, a vocabulary for each: they are looked at. What gives one output a picture never is.
    """
    one = head(split, 1).inputs
    if all(value.is_floating_point() for value in one.values()):
        return most
    each = sum(value.nbytes for value in tensors(predict(model, one)).values())
    return max(1, min(most, held_bytes // max(1, each)))


def scored(model: nn.Module, samples: Split, objective: Objective) -> Scores:
    """What the objective notes of each sample of a split, batch by batch."""
    parts = (objective.scores(predict(model, batch.inputs), batch.targets) for batch in in_order(samples, held_together(model, samples)))
    return joined_scores(list(parts))


def _fit(
    model: nn.Module,
    train: Split,
    config: Training,
    *,
    loss: Loss,
    judge: Callable[[nn.Module, int, float], Epoch],
    shaping: _Shaping,
    device: torch.device,
    seed: int,
    on_epoch: Callable[[Epoch], None] | None,
    keep: Literal["best", "last"],
    first_epoch: int,
) -> tuple[nn.Module, FitHistory]:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    steps = steps_per_epoch(len(train), config)
    begin, end = (first_epoch - 1) * steps, config.epochs * steps
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _one_cycle((begin + step) / end))
    history: list[Epoch] = []
    best_weights, best = _weights(model), judge(model, first_epoch - 1, math.nan)
    order = _Order(len(train), config, generator)
    _skip(train, order, shaping.augment, generator, epochs=first_epoch - 1)
    for number in range(first_epoch, config.epochs + 1):
        losses = []
        model.train()
        for batch in train.batches(order.epoch()):
            seen = replace(batch, inputs=shaping.augment(batch.inputs, generator)).on(device)
            value = loss(model(**seen.inputs), seen)
            losses.append(finite_loss(value.item(), "training", number, config))
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(value if shaping.penalty is None else value + shaping.penalty(model))
            optimizer.step()
            shaping.change_(model, optimizer.param_groups[0]["lr"])
            schedule.step()
        history.append(judge(model.eval(), number, float(np.mean(losses))))
        if on_epoch:
            on_epoch(history[-1])
        if keep == "last" or history[-1].validation_loss <= best.validation_loss:
            best_weights, best = _weights(model), history[-1]
        elif config.patience is not None and number - best.number >= config.patience:
            break
    model.load_state_dict(best_weights)
    optimizer.zero_grad(set_to_none=True)
    return model.eval(), FitHistory(tuple(history), best.number)


def _skip(train: Split, batches: "_Order", augment: Augment, generator: torch.Generator, *, epochs: int) -> None:
    """Draw what epochs would have drawn, so that the ones after them see the batches that they see in the whole training."""
    for _ in range(epochs):
        order = batches.epoch()
        for batch in () if augment is _unchanged else train.batches(order):
            augment(batch.inputs, generator)


def finite_loss(value: float, what: str, epoch: int, config: Training) -> float:
    """A loss as it came.

    Raises:
        Diverged: it is NaN or infinite.
    """
    if math.isfinite(value):
        return value
    if epoch == 0:
        raise Diverged(f"training: the {what} loss is {value} before the first epoch; look at the model's weights and the workload's loss")
    way_out = f"lower learning_rate ({config.learning_rate:g}), or look at the workload's loss"
    raise Diverged(f"training: the {what} loss is {value} in epoch {epoch} of {config.epochs}; {way_out}")


def require_learned(history: FitHistory, config: Training) -> None:
    """Hold a training that began with random weights to having learned something.

    Raises:
        Diverged: no epoch was better on validation than the untrained model.
    """
    if history.epochs and history.best_epoch == 0:
        losses = [epoch.validation_loss for epoch in history.epochs]
        raise Diverged(
            f"training: none of {len(losses)} epochs was better on validation than the untrained model (losses {losses[0]:.4g} to "
            f"{losses[-1]:.4g}): it got worse from epoch 1 on; lower learning_rate ({config.learning_rate:g}), or raise epochs"
        )


def _judged(
    model: nn.Module,
    number: int,
    training_loss: float,
    *,
    validation: Split,
    loss: Loss,
    objective: Objective,
    metric: str,
    config: Training,
) -> Epoch:
    losses, parts = [], []
    for batch in in_order(validation, held_together(model, validation)):
        outputs = predict(model, batch.inputs)
        with torch.no_grad():
            losses.append((loss(outputs, batch).item(), len(batch)))
        parts.append(objective.scores(outputs, batch.targets))
    whole = losses[0][0] if len(losses) == 1 else sum(value * size for value, size in losses) / sum(size for _, size in losses)
    figure = float(metric_of(objective, metric).figure(joined_scores(parts)))
    return Epoch(number, training_loss, finite_loss(whole, "validation", number, config), figure)


def _one_cycle(progress: float) -> float:
    """The share of the learning rate at a point (0 to 1) of the training: up in a straight line, down on a cosine."""
    if progress < WARM_UP:
        return max(0.04, progress / WARM_UP)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP))))


class _Order:
    """Whole batches in a random order, epoch by epoch; of a training of so many steps an epoch goes on where the last one ended."""

    def __init__(self, count: int, config: Training, generator: torch.Generator) -> None:
        self.count, self.config, self.generator = count, config, generator
        self._left: Iterator[Tensor] = iter(())

    def epoch(self) -> Iterator[Tensor]:
        """The rows of each batch of the next epoch."""
        if self.config.steps is None:
            return self._through()
        return iter(list(islice(self._endless(), steps_per_epoch(self.count, self.config))))  # drawn before any augmentation is

    def _endless(self) -> Iterator[Tensor]:
        while True:
            yield from self._left
            self._left = self._through()

    def _through(self) -> Iterator[Tensor]:
        order = torch.randperm(self.count, generator=self.generator)
        size = min(self.config.batch_size, self.count)
        return iter(torch.split(order[: self.count // size * size], size))


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _unchanged(inputs: Batch, _generator: torch.Generator) -> Batch:
    return inputs
