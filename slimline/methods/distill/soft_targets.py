"""Train a student on the teacher's softened outputs and on the labels.

Hinton et al. 2015, "Distilling the knowledge in a neural network" (arXiv 1503.02531):
loss = alpha * CE(student, labels) + (1 - alpha) * T² * KL(softmax(teacher / T) || softmax(student / T)).
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.methods.fit import Augment, Epoch, FitHistory, Loss, Metric, Samples, fit
from slimline.params import SoftTargetsParams


def soft_targets(
    student: nn.Module,
    teacher: nn.Module,
    config: SoftTargetsParams,
    *,
    train: Samples,
    validation: Samples,
    loss: Loss,
    metric: Metric,
    augment: Augment | None = None,
    seed: int = 0,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[nn.Module, FitHistory]:
    """Return the trained student and its history; student and teacher themselves are left as they are.

    The teacher sees the same augmented batch as the student, in evaluation mode and without gradients.
    """
    frozen = copy.deepcopy(teacher).eval().requires_grad_(False)

    def mixed(outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            guidance = frozen(inputs)
        soft = soft_target_loss(outputs, guidance, config.temperature)
        return config.alpha * loss(outputs, targets, inputs) + (1 - config.alpha) * soft

    return fit(student, train, config, loss=mixed, metric=metric, validation=validation, augment=augment, seed=seed, on_epoch=on_epoch)


def soft_target_loss(outputs: Tensor, guidance: Tensor, temperature: float) -> Tensor:
    """T² * KL(teacher || student) of logits [N, classes] at a temperature, mean over the batch, a scalar."""
    student = functional.log_softmax(outputs / temperature, dim=1)
    teacher = functional.log_softmax(guidance / temperature, dim=1)
    return temperature**2 * functional.kl_div(student, teacher, log_target=True, reduction="batchmean")
