"""The epochs of a training, and which one was kept; also as tensors, as a checkpoint holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

EPOCHS, BEST = "epochs", "best_epoch"


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


def history_tensors(history: FitHistory) -> dict[str, Tensor]:
    """`epochs`, float64 [epochs, 4] (number, loss, validation loss, metric), and `best_epoch`."""
    return {EPOCHS: epoch_tensor(history.epochs), BEST: torch.tensor(history.best_epoch)}


def history_of(tensors: Mapping[str, Tensor]) -> FitHistory:
    """The history that `history_tensors` was given, bit for bit."""
    return FitHistory(epochs_of(tensors[EPOCHS]), int(tensors[BEST]))


def epoch_tensor(epochs: Sequence[Epoch]) -> Tensor:
    """Epochs as float64 [epochs, 4]."""
    rows = [(epoch.number, epoch.loss, epoch.validation_loss, epoch.metric) for epoch in epochs]
    return torch.tensor(rows, dtype=torch.float64).view(-1, 4)


def epochs_of(table: Tensor) -> tuple[Epoch, ...]:
    """The epochs that `epoch_tensor` was given, bit for bit."""
    return tuple(Epoch(int(number), *figures) for number, *figures in table.tolist())
