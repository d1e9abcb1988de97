"""The control of distillation: the same student with the same budget, trained on the labels alone."""

from collections.abc import Callable

from torch import nn

from slimline.methods.fit import Augment, Epoch, FitHistory, Loss, Metric, Samples, fit
from slimline.params import ScratchParams


def scratch(
    student: nn.Module,
    _teacher: nn.Module,
    config: ScratchParams,
    *,
    train: Samples,
    validation: Samples,
    loss: Loss,
    metric: Metric,
    augment: Augment | None = None,
    seed: int = 0,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[nn.Module, FitHistory]:
    """Return the trained student and its history. The teacher is not used: that is the point of a control."""
    return fit(student, train, config, loss=loss, metric=metric, validation=validation, augment=augment, seed=seed, on_epoch=on_epoch)
