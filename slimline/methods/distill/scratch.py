"""The control of distillation: the same student with the same budget, trained on the labels alone."""

from torch import nn

from slimline.errors import Impossible
from slimline.methods.edited import Edited
from slimline.objectives import Objective
from slimline.params import ScratchParams
from slimline.training.data import TrainingData


def require_labels(objective: Objective) -> None:
    """Hold a workload to having targets that do not come from the teacher.

    Raises:
        StageError: it has none.
    """
    if not objective.needs_targets:
        raise Impossible(
            f"distill: scratch learns from labels, and the targets of the objective {objective.name} are the teacher's answers; "
            "leave this entry out"
        )


def scratch(student: nn.Module, _teacher: nn.Module, config: ScratchParams, *, data: TrainingData) -> Edited:
    """Return the trained student and its history. The teacher is not used: that is the point of a control.

    Raises:
        StageError: the targets are the teacher's answers.
    """
    require_labels(data.objective)
    return Edited(*data.fitted(student, config))
