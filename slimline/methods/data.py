"""What every method is given beside the model and its config."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from slimline.data.batch import Batch
from slimline.data.signature import Signature
from slimline.training.data import TrainingData
from slimline.training.records import Records


@dataclass(frozen=True, kw_only=True)
class MethodData(TrainingData):
    """Samples, how they are judged, and what the stage can measure.

    `calibration` are real samples, in memory; `example` are two of them; `signature` says which of their axes vary. `train` holds nothing
    for a method whose config does not declare `trains`. `collect` gives the statistics of any model over the calibration sample.
    `sensitivity(kind)`, kind being quantize, prune, channels or factorize, gives module name -> how far the outputs move
    (`objective.distance`) when that layer of the source alone is compressed. `initial` gives the source's architecture untrained, as the
    same seed makes it; `latency_ms` the measured time of one sample through a model; a method of many rounds keeps each finished one in
    `checkpoints`.
    """

    calibration: Batch
    example: Batch
    signature: Signature | None = None
    collect: Callable[[nn.Module], Records]
    sensitivity: Callable[[str], Mapping[str, float]] | None = None
    initial: Callable[[], nn.Module] | None = None
    latency_ms: Callable[[nn.Module], float] | None = None
