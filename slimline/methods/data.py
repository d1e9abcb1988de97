"""What every method is given beside the model and its config."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from slimline.methods.fit import Augment, Epoch, FitHistory, Loss, Metric, Samples, fit, predict
from slimline.methods.records import Records
from slimline.params import Training


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
    being quantize, prune, channels or factorize, gives module name -> how far the outputs move (`output_change`) when that layer of the
    source alone is compressed. `initial` gives the source's architecture untrained, as the same seed makes it; `latency_ms` the measured
    time of one sample through a model; `rounds` keeps what a long method has finished.
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

    def fitted(self, model: nn.Module, config: Training, *, seed: int | None = None, **settings: Any) -> tuple[nn.Module, FitHistory]:
        """As `fit` on these samples, judged by this loss and metric; `seed` stands in for the data's own, `settings` are fit's others."""
        return fit(
            model,
            self.train,
            config,
            loss=self.loss,
            metric=self.metric,
            validation=self.validation,
            augment=self.augment,
            seed=self.seed if seed is None else seed,
            on_epoch=self.on_epoch,
            **settings,
        )

    def validation_metric(self, model: nn.Module) -> float:
        """The metric of a model on validation."""
        return self.metric(predict(model, self.validation.inputs).numpy(), self.validation.targets.numpy())
