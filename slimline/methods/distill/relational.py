"""Train a student to hold the samples of a batch apart as its teacher does.

Park et al. 2019, "Relational knowledge distillation" (arXiv 1904.05068): distances between samples over their mean, and the angles that
every three of them make, compared by Huber's loss. No width needs to be the same, and nothing is projected.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.samples import head
from slimline.methods.distill.features import Comparison, trained_beside
from slimline.methods.distill.pairing import deepest_pair
from slimline.methods.edited import Edited
from slimline.params import RelationalParams
from slimline.training.data import TrainingData

TINY = 1e-12


def relational(student: nn.Module, teacher: nn.Module, config: RelationalParams, *, data: TrainingData) -> Edited:
    """Return the trained student and its history; student and teacher themselves are left as they are.

    loss = that of soft_targets + distance_weight * L(distances) + angle_weight * L(angles), of the named layers, else of the last ones
    before the output, averaged over places.

    Raises:
        InputError: student_layers or teacher_layers names no module.
        StageError: a model has no layer before its output.
    """
    if config.epochs == 0:
        return Edited(*data.fitted(student, config))
    pairs = deepest_pair(student, teacher, config, head(data.validation, 2).inputs)

    def apart(own: Tensor, theirs: Tensor) -> Tensor:
        far = functional.huber_loss(distances(own), distances(theirs)) if config.distance_weight else own.new_zeros(())
        turned = functional.huber_loss(angles(own), angles(theirs)) if config.angle_weight else own.new_zeros(())
        return config.distance_weight * far + config.angle_weight * turned

    comparison = Comparison(pairs, apart, 1.0, "Relations compared", embeddings, projects=False)
    return trained_beside(student, teacher, config, comparison, data=data)


def embeddings(own: Tensor, theirs: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Both as one vector a sample, however many places they have."""
    return embedded(own, there), embedded(theirs, there)


def embedded(features: Tensor, there: Tensor) -> Tensor:
    """Features [N, …, width] averaged over their places, filled up ones left out: [N, width]."""
    rows = features.float()
    if there.numel() and rows.shape[:-1] == there.shape:
        kept = there.unsqueeze(-1).to(rows.dtype)
        return (rows * kept).sum(1) / kept.sum(1).clamp(min=1)
    return rows.flatten(1, -2).mean(1) if rows.dim() > 2 else rows


def distances(rows: Tensor) -> Tensor:
    """Between all samples [N, width], over their mean: [N, N]."""
    squares = rows.square().sum(1)
    apart = (squares[:, None] + squares[None, :] - 2 * rows @ rows.T).clamp(min=TINY).sqrt()
    apart = apart.masked_fill(torch.eye(len(rows), dtype=torch.bool, device=rows.device), 0.0)
    return apart / (apart.sum() / max(1, len(rows) * (len(rows) - 1))).clamp(min=TINY)


def angles(rows: Tensor) -> Tensor:
    """The cosines of the angles at every sample [N, width] between every two others: [N, N, N]."""
    towards = functional.normalize(rows[None, :, :] - rows[:, None, :], dim=2)
    return towards @ towards.transpose(1, 2)
