"""What every training is given beside the model and its config."""

from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from slimline.data.samples import Split
from slimline.objectives import Objective, metric_of
from slimline.params import Training
from slimline.training.checkpoints import Checkpoints
from slimline.training.fit import Augment, OnEpoch, fit, scored
from slimline.training.history import FitHistory
from slimline.training.known import Known

NOT_OF_FIT = ("held_out", "known")


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Samples, and how models are judged by them.

    `objective` and its `metric` say what is right; `augment`, `on_epoch` and `checkpoints` are those of `fit`. `held_out` is
    what nothing may be trained on that is made up: a method that writes samples of its own keeps them apart from it. `known` are
    answers of teachers that need not be asked again.
    """

    train: Split
    validation: Split
    objective: Objective
    metric: str
    seed: int = 0
    augment: Augment | None = None
    on_epoch: OnEpoch | None = None
    checkpoints: Checkpoints | None = None
    held_out: Split | None = None
    known: tuple[Known, ...] = ()

    def fitted(self, model: nn.Module, config: Training, *, seed: int | None = None, **settings: Any) -> tuple[nn.Module, FitHistory]:
        """As `fit` on these samples, judged by this objective; `seed` stands in for the data's own, `settings` are fit's others."""
        return fit(model, config=config, **self.settings | settings | ({} if seed is None else {"seed": seed}))

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of `fit` that these samples give."""
        return {each.name: getattr(self, each.name) for each in fields(TrainingData) if each.name not in NOT_OF_FIT}

    def validation_metric(self, model: nn.Module) -> float:
        """The metric of a model on validation."""
        return float(metric_of(self.objective, self.metric).figure(scored(model, self.validation, self.objective)))
