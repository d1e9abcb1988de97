"""Train a student on what the teacher's middle layers give: of any two nets, convolutions and sequences alike.

Romero et al. 2015, "FitNets: hints for thin deep nets" (arXiv 1412.6550): a learned regressor takes the student's features to the teacher's
width. There the layers up to the hint are trained first; `hint_epochs` does that, and without it all is trained at once.
"""

from torch import nn

from slimline.data.samples import head
from slimline.methods.distill.features import Comparison, alike, trained_beside
from slimline.methods.distill.hidden_states import distance
from slimline.methods.distill.pairing import deep_pairs
from slimline.methods.edited import Edited
from slimline.params import HintsParams
from slimline.training.data import TrainingData


def hints(student: nn.Module, teacher: nn.Module, config: HintsParams, *, data: TrainingData) -> Edited:
    """Return the trained student and its history; student and teacher themselves are left as they are.

    loss = that of soft_targets + hint_weight * the mean over pairs of |P s - t|² / |t|²; P, a 1x1 convolution, is thrown away. Maps of
    different sizes are averaged to the smaller one.

    Raises:
        InputError: student_layers or teacher_layers names no module.
        StageError: no layers of the same kind lie inside both models.
    """
    if config.epochs == 0:
        return Edited(*data.fitted(student, config))
    pairs = deep_pairs(student, teacher, config, head(data.validation, 2).inputs)
    comparison = Comparison(pairs, distance, config.hint_weight, "Features compared", alike)
    return trained_beside(student, teacher, config, comparison, data=data, epochs_before=config.hint_epochs)
