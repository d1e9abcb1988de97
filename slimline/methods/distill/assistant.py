"""Train assistants of falling size between teacher and student, each taught by the one before.

Mirzadeh et al. 2020, "Improved knowledge distillation via teacher assistant" (arXiv 1902.03393). An assistant is cut out of the teacher
(derived.py), so that it needs no code and starts from what the teacher knows.
"""

from torch import nn

from slimline.data.batch import Batch
from slimline.data.samples import head
from slimline.methods.distill.derived import derived
from slimline.methods.distill.guided import trained_by
from slimline.methods.edited import Edited, Listing
from slimline.methods.recalibrate import recalibrated_over
from slimline.params import AssistantParams
from slimline.training.data import TrainingData


def assistant(student: nn.Module, teacher: nn.Module, config: AssistantParams, *, data: TrainingData) -> Edited:
    """Return the student that the last assistant taught, and its history; student and teacher themselves are left as they are.

    Raises:
        StageError: an assistant cannot be cut out of the teacher.
    """
    if config.epochs == 0:
        return Edited(*data.fitted(student, config))
    above, rows = teacher, [_row("teacher", teacher, data)]
    for number, net in enumerate(assistants(teacher, config, head(data.validation, 2).inputs), start=1):
        above = trained_by(recalibrated_over(net, data.train), above, config, data).model
        rows.append(_row(f"assistant {number}", above, data))
    made = trained_by(student, above, config, data)
    listing = Listing("The chain", ("", "parameters", f"validation {data.metric}"), (*rows, _row("student", made.model, data)))
    return Edited(made.model, made.history, listings=(listing,))


def assistants(teacher: nn.Module, config: AssistantParams, example: Batch) -> list[nn.Module]:
    """The untrained assistants, the largest first.

    Raises:
        StageError: one cannot be cut out of the teacher.
    """
    return [derived(teacher, shape, example) for shape in config.assistants]


def _row(name: str, model: nn.Module, data: TrainingData) -> tuple[str, int, float]:
    return name, sum(value.numel() for value in model.parameters()), data.validation_metric(model)
