"""The history of a training as tensors, for the finished rounds of a long method."""

from collections.abc import Mapping

import torch
from torch import Tensor

from slimline.training.fit import Epoch, FitHistory

EPOCHS, BEST = "epochs", "best_epoch"


def history_tensors(history: FitHistory) -> dict[str, Tensor]:
    """`epochs`, float64 [epochs, 4] (number, loss, validation loss, metric), and `best_epoch`."""
    epochs = [(epoch.number, epoch.loss, epoch.validation_loss, epoch.metric) for epoch in history.epochs]
    return {EPOCHS: torch.tensor(epochs, dtype=torch.float64).view(-1, 4), BEST: torch.tensor(history.best_epoch)}


def history_of(tensors: Mapping[str, Tensor]) -> FitHistory:
    """The history that `history_tensors` was given, bit for bit."""
    return FitHistory(tuple(Epoch(int(number), *figures) for number, *figures in tensors[EPOCHS].tolist()), int(tensors[BEST]))
