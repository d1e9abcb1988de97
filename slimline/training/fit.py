"""Train a model, or bring one back after an edit: AdamW on a warm-up and cosine schedule, best epoch on validation kept.

The best epoch is the one with the lowest loss on validation: a small split saturates in accuracy, and the epoch that got
one more sample right by luck is not the best one.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from slimline.data.batch import Batch, Tensors, clone, count, joined, moved, split, tensors
from slimline.data.samples import Samples, Split, head, in_order
from slimline.errors import Diverged
from slimline.objectives import Objective, Scores, joined_scores, metric_of
from slimline.params import Training
from slimline.training.checkpoints import Checkpoints
from slimline.training.device import CPU, cpu_threads, device_under, placed
from slimline.training.history import Epoch, FitHistory
from slimline.training.order import Order, steps_per_epoch
from slimline.training.standing import Keeper, Standing, fingerprint, weights_of

Loss = Callable[[Tensors, Samples], Tensor]
"""(outputs, the batch as the model saw it) -> scalar; holds nothing from one batch to the next."""
Augment = Callable[[Batch, torch.Generator], Batch]
Penalty = Callable[[nn.Module], Tensor]
"""(the model in training) -> scalar; holds nothing from one batch to the next."""
OnEpoch = Callable[[Epoch, int], None]
"""Told of each epoch, and of how many there are at most."""
AfterStep = Callable[[nn.Module, float], None]
"""Changes the model in training, in place, without gradients, after a step of the given learning rate."""
WARM_UP = 0.2
BATCH_SIZE = 256
"""Samples at a time where nothing is trained."""
HELD_BYTES = 256_000_000
"""Outputs that are held at a time, where they may be large."""
RUN_BYTES = 4_000_000
"""Inputs that run through a model at a time where nobody says how many: what is computed of them takes many times as much."""


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
    on_epoch: OnEpoch | None = None,
    penalty: Penalty | None = None,
    after_step: AfterStep | None = None,
    keep: Literal["best", "last"] = "best",
    first_epoch: int = 1,
    checkpoints: Checkpoints | None = None,
) -> tuple[nn.Module, FitHistory]:
    """Return a trained copy of `model` in evaluation mode, with the weights of its best epoch, and the history.

    The epoch with the lowest validation loss is kept; where none is as good as the model that came in, that one is. Stops
    when `config.patience` epochs brought nothing better.
    `metric` is the objective's one that the history shows. `loss` stands in for the objective's own, in training and for choosing.
    `masks` names parameters whose masked-out (False) entries stay zero. Zero epochs return a plain copy.
    `penalty` is added to the loss of each batch (the history has the loss without it), `after_step` changes the weights after
    each step; both see the model on the device that it is trained on. `keep: last` is for training that makes a model smaller as it
    goes: all epochs run, and the last one is kept. `first_epoch` enters the schedule and the order of batches later, for weights that
    have had the epochs before it. `checkpoints` keeps where a long training stands; the same training goes on from there the next time,
    with equal bytes. One with `after_step`, which may count steps, begins anew. Raises Diverged at the epoch where a loss is NaN or
    infinite.
    """
    model = copy.deepcopy(model).eval()
    if config.epochs == 0:
        return model, FitHistory()
    asked: Loss = loss or (lambda outputs, batch: objective.loss(outputs, batch.targets))
    judge = partial(_judged, validation=validation, loss=asked, objective=objective, metric=metric, config=config)
    settings = {"metric": metric, "seed": seed, "keep": keep, "first_epoch": first_epoch, "samples": (len(train), len(validation))}
    keeper = Keeper(None if after_step else checkpoints, lambda: fingerprint(model, config, masks or {}, **settings))
    trained = partial(_fit, seed=seed, on_epoch=on_epoch, keep=keep, first_epoch=first_epoch, keeper=keeper)
    with cpu_threads(config.threads), placed(model, config) as device:
        shaping = _Shaping(augment or _unchanged, {name: mask.to(device) for name, mask in (masks or {}).items()}, penalty, after_step)
        with torch.random.fork_rng(devices=[] if device == CPU else [device]):
            return trained(model, train, config, loss=asked, judge=judge, shaping=shaping, device=device)


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
    keeper: Keeper,
    seed: int,
    on_epoch: OnEpoch | None,
    keep: Literal["best", "last"],
    first_epoch: int,
) -> tuple[nn.Module, FitHistory]:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    order = Order(len(train), config, generator)
    before = judge(model, first_epoch - 1, math.nan)
    standing = Standing(model, optimizer, order, generator, device, before, weights_of(model))
    _skip(train, order, shaping.augment, generator, epochs=first_epoch - 1)
    keeper.resume(standing)
    steps = steps_per_epoch(len(train), config)
    begin, end = standing.done * steps, config.epochs * steps
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _one_cycle((begin + step) / end))
    while not standing.is_over(config):
        number, losses = standing.done + 1, []
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
        epoch = judge(model.eval(), number, float(np.mean(losses)))
        standing.take(epoch, as_best=keep == "last" or epoch.validation_loss <= standing.best.validation_loss)
        if on_epoch:
            on_epoch(epoch, config.epochs)
        keeper.keep(standing, is_over=standing.is_over(config))
    model.load_state_dict(standing.best_weights)
    optimizer.zero_grad(set_to_none=True)
    return model.eval(), standing.history


def _skip(train: Split, batches: Order, augment: Augment, generator: torch.Generator, *, epochs: int) -> None:
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


def _unchanged(inputs: Batch, _generator: torch.Generator) -> Batch:
    return inputs
