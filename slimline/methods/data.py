"""What every method is given beside the model and its config."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from slimline.methods.fit import Augment, Epoch, Loss, Metric, Samples
from slimline.methods.records import Records


class Rounds(Protocol):
    """Where a method of many rounds leaves each finished one, so that a run that was stopped goes on from there."""

    def load(self, number: int) -> Mapping[str, Tensor] | None:
        """The tensors of a round that was finished before, or None."""

    def save(self, number: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep the tensors of a round that is finished."""


@dataclass(frozen=True)
class MethodData:
    """Samples, how they are judged, and what the stage can measure.

    `calibration` is [N, …]; `train` holds nothing for a method whose config does not declare `trains`. `loss`, `metric`, `augment` and
    `on_epoch` are those of `fit`. `collect` gives the statistics of any model over the calibration sample. `sensitivity(kind)`, kind
    being prune, channels or factorize, gives module name -> how far the outputs move (norm of the difference over norm) when that layer
    of the source alone is compressed. `initial` gives the source's architecture untrained, as the same seed makes it; `latency_ms` the
    measured time of one sample through a model.
    """

    calibration: Tensor
    train: Samples
    validation: Samples
    loss: Loss
    metric: Metric
    collect: Callable[[nn.Module], Records]
    example_input: Tensor
    seed: int = 0
    augment: Augment | None = None
    on_epoch: Callable[[Epoch], None] | None = None
    sensitivity: Callable[[str], Mapping[str, float]] | None = None
    initial: Callable[[], nn.Module] | None = None
    latency_ms: Callable[[nn.Module], float] | None = None
    rounds: Rounds | None = None
