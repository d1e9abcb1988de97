"""Train a student on what the teacher's layers give, beside its outputs and the labels.

Jiao et al. 2019, "TinyBERT" (arXiv 1909.10351): a learned projection takes the student's states to the teacher's width. The cosine is
that of Sanh et al. 2019, "DistilBERT" (arXiv 1910.01108).
"""

from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from slimline.data.samples import head
from slimline.methods.distill.features import Comparison, alike, trained_beside
from slimline.methods.distill.pairing import pairs_of
from slimline.methods.edited import Edited
from slimline.params import HiddenStatesParams
from slimline.training.data import TrainingData

TINY = 1e-8


def hidden_states(student: nn.Module, teacher: nn.Module, config: HiddenStatesParams, *, data: TrainingData) -> Edited:
    """Return the trained student and its history; student and teacher themselves are left as they are.

    loss = that of soft_targets + hidden_weight * the mean distance of the pairs of layers.

    Raises:
        InputError: student_layers or teacher_layers names no module, or layers of unlike kinds.
        StageError: none are named, and one of the models has no list of layers.
    """
    if config.epochs == 0:
        return Edited(*data.fitted(student, config))
    pairs, apart = pairs_of(student, teacher, config, head(data.validation, 2).inputs), partial(distance, kind=config.distance)
    comparison = Comparison(pairs, apart, config.hidden_weight, "Hidden states compared", alike)
    return trained_beside(student, teacher, config, comparison, data=data)


def distance(own: Tensor, theirs: Tensor, kind: Literal["mse", "cosine"] = "mse") -> Tensor:
    """Of features [N, …, width]: the mean square of the difference over that of the teacher's own, or 1 minus the cosine."""
    if kind == "cosine":
        counted = theirs.abs().amax(-1) > 0
        return (1 - functional.cosine_similarity(own, theirs, dim=-1))[counted].mean()
    return (own - theirs).square().mean() / theirs.square().mean().clamp(min=TINY)
