"""Train a student to look where its teacher looks: on maps of how strong each place of a layer is.

Zagoruyko & Komodakis 2017, "Paying more attention to attention" (arXiv 1612.03928), activation-based with squares: of features
[N, places, width] the mean square over the width, each map of length 1.
"""

from torch import Tensor, nn
from torch.nn import functional

from slimline.data.samples import head
from slimline.methods.distill.features import Comparison, alike, trained_beside
from slimline.methods.distill.pairing import deep_pairs
from slimline.methods.edited import Edited
from slimline.params import AttentionTransferParams
from slimline.training.data import TrainingData

WITH_PLACES = 3
"""Dimensions of features that have places beside samples and width."""


def attention_transfer(student: nn.Module, teacher: nn.Module, config: AttentionTransferParams, *, data: TrainingData) -> Edited:
    """Return the trained student and its history; student and teacher themselves are left as they are.

    loss = that of soft_targets + attention_weight * the mean square difference of the maps of each pair of layers.

    Raises:
        InputError: student_layers or teacher_layers names no module.
        StageError: no layers inside both models give feature maps or sequences.
    """
    if config.epochs == 0:
        return Edited(*data.fitted(student, config))
    pairs = deep_pairs(student, teacher, config, head(data.validation, 2).inputs, least=WITH_PLACES)
    comparison = Comparison(pairs, apart, config.attention_weight, "Maps of attention compared", alike, projects=False)
    return trained_beside(student, teacher, config, comparison, data=data)


def apart(own: Tensor, theirs: Tensor) -> Tensor:
    """The mean square difference of both maps, of features [N, …, width] with as many places."""
    return (attention(own) - attention(theirs)).square().mean()


def attention(features: Tensor) -> Tensor:
    """[N, …, width] -> [N, places], each row of length 1."""
    return functional.normalize(features.square().mean(-1).flatten(1), dim=1)
