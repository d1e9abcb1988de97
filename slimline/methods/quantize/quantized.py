"""What a quantization method makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from slimline.methods.quantize.plan import Plan
from slimline.training.history import FitHistory


@dataclass(frozen=True)
class Quantized:
    """A float32 model, whose weights are as the method left them, and the plan by which a runtime quantizes it.

    `reference` is the float model that it stands for, where `model` holds weights that are rounded already (layer names and
    shapes are the same). `grids` holds "<layer>.scale" and "<layer>.zero_point", float32 [outputs, groups], for the layers whose entry says
    `stored_grid`, and of those with a range for each token "<layer>.input_scale" [inputs] and "<layer>.input_zero_point" [].
    `notes` are sentences for the page.
    """

    model: nn.Module
    plan: Plan
    reference: nn.Module | None = None
    grids: Mapping[str, Tensor] = field(default_factory=dict)
    history: FitHistory = field(default_factory=FitHistory)
    notes: tuple[str, ...] = ()
