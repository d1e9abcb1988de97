"""Where a training stands after an epoch: all that the next one depends on, kept as tensors and brought back bit for bit."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from slimline.params import Training
from slimline.training.checkpoints import Checkpoints
from slimline.training.device import CPU
from slimline.training.history import Epoch, FitHistory, epoch_tensor, epochs_of
from slimline.training.order import Order

BEST, MODEL, MOMENTS = "best/", "model/", "moments/"
EPOCHS, BEST_EPOCH, LEFT, DRAWS, NOISE, DEVICE_NOISE = "epochs", "best_epoch", "left", "draws", "noise", "device_noise"


@dataclass
class Standing:
    """A training between two epochs. `generator` draws order and augmentation; the global one draws what the layers do (dropout)."""

    model: nn.Module
    optimizer: torch.optim.AdamW
    order: Order
    generator: torch.Generator
    device: torch.device
    best: Epoch
    best_weights: dict[str, Tensor]
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def history(self) -> FitHistory:
        """What it has come to."""
        return FitHistory(tuple(self.epochs), self.best.number)

    @property
    def done(self) -> int:
        """The number of the last epoch, or of the one before the first."""
        return self.epochs[-1].number if self.epochs else self.best.number

    def take(self, epoch: Epoch, *, as_best: bool) -> None:
        """Add an epoch; the best one's weights are copied."""
        self.epochs.append(epoch)
        if as_best:
            self.best, self.best_weights = epoch, weights_of(self.model)

    def is_over(self, config: Training) -> bool:
        """Whether `patience` epochs brought nothing better, or all have run."""
        has_waited = config.patience is not None and self.epochs and self.done - self.best.number >= config.patience
        return self.done >= config.epochs or bool(has_waited)


class Keeper:
    """Keeps one training between epochs, where there is a place for it."""

    def __init__(self, checkpoints: Checkpoints | None, name: Callable[[], str]) -> None:
        self._checkpoints = checkpoints
        self._name = checkpoints.claim(name()) if checkpoints else ""
        self._kept_at = time.monotonic()
        self._is_kept = False

    def resume(self, standing: Standing) -> None:
        """Bring a training that has just begun to where it was kept, if it was."""
        kept = self._checkpoints.load(self._name) if self._checkpoints else None
        if kept is not None:
            self._is_kept = True
            _bring_to(standing, kept)

    def keep(self, standing: Standing, *, is_over: bool) -> None:
        """Keep it if that is due; of one that is over only what it gave, and only if it was kept before."""
        if self._checkpoints is None or not (self._is_kept if is_over else self._is_due()):
            return
        self._checkpoints.save(self._name, _result(standing) | ({} if is_over else _means(standing)))
        self._kept_at, self._is_kept = time.monotonic(), True

    def _is_due(self) -> bool:
        return self._checkpoints is not None and time.monotonic() - self._kept_at >= self._checkpoints.every_s


def fingerprint(model: nn.Module, config: Training, masks: Mapping[str, Tensor], **settings: Any) -> str:
    """A name that only a training has which begins with the same layers, weights, masks, config and settings."""
    known = hashlib.sha256(f"{model} {getattr(model, 'code', '')} {config.model_dump_json()} {sorted(settings.items())}".encode())
    for name, value in (*model.state_dict().items(), *masks.items()):
        known.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        known.update(value.detach().to(CPU).contiguous().view(-1).view(torch.uint8).numpy())
    return f"training-{known.hexdigest()[:16]}"


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of a model's parameters and buffers, by name."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _result(standing: Standing) -> dict[str, Tensor]:
    weights = {f"{BEST}{name}": value for name, value in standing.best_weights.items()}
    return {**weights, EPOCHS: epoch_tensor(standing.epochs), BEST_EPOCH: epoch_tensor([standing.best])}


def _means(standing: Standing) -> dict[str, Tensor]:
    """What more it takes to go on: the weights, the optimizer's moments, the generators, the rows that are left."""
    weights = {f"{MODEL}{name}": value for name, value in weights_of(standing.model).items()}
    moments = {
        f"{MOMENTS}{number}/{name}": value
        for number, state in standing.optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    on_device = {} if standing.device == CPU else {DEVICE_NOISE: torch.cuda.get_rng_state(standing.device)}
    drawn = {LEFT: standing.order.left(), DRAWS: standing.generator.get_state(), NOISE: torch.get_rng_state()}
    return {**weights, **moments, **drawn, **on_device}


def _bring_to(standing: Standing, kept: Mapping[str, Tensor]) -> None:
    (standing.best,) = epochs_of(kept[BEST_EPOCH])
    standing.epochs[:] = epochs_of(kept[EPOCHS])
    standing.best_weights = {name: value.to(standing.device) for name, value in _below(kept, BEST).items()}
    if LEFT not in kept:
        return
    standing.model.load_state_dict(_below(kept, MODEL))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _below(kept, MOMENTS).items():
        number, _, what = name.partition("/")
        state.setdefault(int(number), {})[what] = value
    standing.optimizer.load_state_dict(standing.optimizer.state_dict() | {"state": state})
    standing.order.go_on_with(kept[LEFT])
    standing.generator.set_state(kept[DRAWS])
    torch.set_rng_state(kept[NOISE])
    if DEVICE_NOISE in kept:
        torch.cuda.set_rng_state(kept[DEVICE_NOISE], standing.device)


def _below(tensors: Mapping[str, Tensor], folder: str) -> dict[str, Tensor]:
    return {name.removeprefix(folder): value for name, value in tensors.items() if name.startswith(folder)}
