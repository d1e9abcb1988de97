"""What every quantization method is given beside the model, and what it makes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from slimline.methods.fit import Augment, Epoch, FitHistory, Loss, Metric, Samples
from slimline.methods.quantize.plan import Plan
from slimline.methods.quantize.ranges import Records


@dataclass(frozen=True)
class QuantizeData:
    """What a method may read: samples, how they are judged, and how calibration is done.

    `calibration` is [N, …]; `loss`, `metric`, `augment` and `on_epoch` are those of `fit`. `collect` gives the statistics of
    any model over the calibration sample, for methods that change what flows between the layers.
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


@dataclass(frozen=True)
class Quantized:
    """A float32 model, whose weights are as the method left them, and the plan by which a runtime quantizes it.

    `reference` is the float model that it stands for, where `model` holds weights that are rounded already (layer names and
    shapes are the same). `grids` holds "<layer>.scale" and "<layer>.zero_point", float32 [outputs, groups], for the layers whose entry says
    `stored_grid`; `notes` are sentences for the page.
    """

    model: nn.Module
    plan: Plan
    reference: nn.Module | None = None
    grids: Mapping[str, Tensor] = field(default_factory=dict)
    history: FitHistory = field(default_factory=FitHistory)
    notes: tuple[str, ...] = ()
