"""How far a model's outputs move, as the objective says it, where they may be too large to be held all at once."""

from collections.abc import Iterable

from torch import nn

from slimline.data.batch import Batch, count, split
from slimline.data.samples import Samples
from slimline.methods.data import MethodData
from slimline.training.fit import held_together, predict


def output_distances(reference: nn.Module, others: Iterable[nn.Module], data: MethodData) -> list[float]:
    """The distance of each model's outputs from the reference's on the calibration sample: of large outputs the mean over its parts."""
    inputs = data.calibration
    parts = list(split(inputs, held_together(reference, Samples(inputs, next(iter(inputs.values()))), most=count(inputs))))
    if len(parts) == 1:
        known = predict(reference, inputs)
        return [data.objective.distance(known, predict(other, inputs)) for other in others]
    return [sum(_apart(reference, other, part, data) for part in parts) / count(inputs) for other in others]


def _apart(reference: nn.Module, other: nn.Module, part: Batch, data: MethodData) -> float:
    return data.objective.distance(predict(reference, part), predict(other, part)) * count(part)
