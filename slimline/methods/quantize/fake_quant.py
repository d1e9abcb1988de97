"""Fake quantization that can be trained: values are rounded as the int8 kernels round them, gradients pass straight through.

LSQ, Esser et al. 2020, arXiv:1902.08153; LSQ+, Bhalgat et al. 2020, arXiv:2004.09576; ranges learned as logarithms: TQT,
Jain et al. 2020, arXiv:1903.08066.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slimline.methods.quantize.weights import rounded_weight

LARGEST_LEVEL, LEVELS = 127, 255


class FakeWeight(nn.Module):
    """The parametrization of an int8 weight: trained in units of its channel, clipped, and rounded to the plan's grid.

    What is trained is the weight divided by the power of two above its channel's largest magnitude, so that one learning rate
    suits all channels, however far apart batch-norm folding or equalisation left them. The clipping threshold is a fraction
    exp(shrink) in (0, 1] of the channel's largest magnitude, so the scale is never above max|w| / 127 and the clipped
    weight alone tells it.
    """

    unit: Tensor

    def __init__(self, weight: Tensor, entry: Mapping[str, Any], *, learned: bool) -> None:
        """`weight` is [outputs, …]; `entry` is the layer's in the plan; unless `learned`, the fraction stays at 1."""
        super().__init__()
        self.entry = dict(entry)
        largest = _largest(weight.detach(), entry)
        exponent = torch.frexp(torch.where(largest > 0, largest, torch.ones_like(largest))).exponent
        self.register_buffer("unit", torch.ldexp(torch.ones_like(largest), exponent))
        self.shrink = nn.Parameter(torch.zeros_like(largest), requires_grad=learned)

    def forward(self, trained: Tensor) -> Tensor:
        """What the kernels compute with, [outputs, …]."""
        weight = trained * self.unit
        rounded: Tensor = _RoundWeight.apply(weight, self.threshold(weight), self.entry)  # type: ignore[no-untyped-call]
        return rounded

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The values to train for a given weight; exact, since the unit is a power of two."""
        return weight / self.unit

    def clipped(self, trained: Tensor) -> Tensor:
        """The float weight to save: rounding it by its plan's entry gives exactly what `forward` gives."""
        weight = (trained * self.unit).detach()
        threshold = self.threshold(weight).detach()
        return weight.clamp(-threshold, threshold)

    def threshold(self, weight: Tensor) -> Tensor:
        """The magnitude that becomes 127, one a channel: [outputs, 1, …] (per tensor: [1, 1, …])."""
        shrink: Tensor = _Bounded.apply(self.shrink)  # type: ignore[no-untyped-call]
        return _largest(weight.detach(), self.entry) * shrink.exp()


class FakeInput(nn.Module):
    """A layer's input on 256 levels between two ends that may be learned; zero is always one of the levels.

    The ends are start * exp(stretch): an end at zero (after a ReLU) stays there, and weight decay draws them to where
    calibration had put them.
    """

    start: Tensor

    def __init__(self, input_range: Sequence[float], *, learned: bool, symmetric: bool = False) -> None:
        """`input_range` is [low, high] with low <= 0 <= high, as the observer chose it; `symmetric` ends move as one."""
        super().__init__()
        self.register_buffer("start", torch.tensor(list(input_range)))
        self.stretch = nn.Parameter(torch.zeros(1 if symmetric else 2), requires_grad=learned)

    def forward(self, x: Tensor) -> Tensor:
        """`x` [N, …] rounded to the levels."""
        scale, zero_point = self._grid()
        rounded: Tensor = _RoundInput.apply(x, scale, zero_point)  # type: ignore[no-untyped-call]
        return rounded

    def input_range(self) -> tuple[float, float]:
        """The range to plan, of which simulation and the kernels make the very same levels."""
        scale, zero_point = (value.item() for value in self._grid())
        return -zero_point * scale, (LEVELS - zero_point) * scale

    def _grid(self) -> tuple[Tensor, Tensor]:
        low, high = self.start * self.stretch.exp()
        scale = (high - low) / LEVELS
        zero_point: Tensor = _Round.apply(-low / scale)  # type: ignore[no-untyped-call]
        return scale, zero_point


def round_input(layer: nn.Module, x: Tensor) -> Tensor:
    """For on_input: the layer's own `fake_input` rounds what goes into it."""
    fake_input: Any = layer.fake_input
    rounded: Tensor = fake_input(x)
    return rounded


class _RoundWeight(torch.autograd.Function):
    """rounded_weight of the clipped weight; gradients of equations 3 and 5 of LSQ, as d/d threshold = d/d scale / 127."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, threshold: Tensor, entry: Mapping[str, Any]) -> Tensor:
        rounded = rounded_weight(weight.clamp(-threshold, threshold), entry)
        ctx.save_for_backward(weight, threshold, rounded)
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:  # type: ignore[override]
        weight, threshold, rounded = ctx.saved_tensors
        inside = weight.abs() <= threshold
        if not ctx.needs_input_grad[1]:
            return gradient * inside, None, None
        slope = torch.where(inside, rounded - weight, rounded) / threshold.clamp_min(torch.finfo(threshold.dtype).tiny)
        by_threshold = (gradient * slope).sum_to_size(threshold.shape)
        return gradient * inside, by_threshold * _gradient_scale(weight.numel() // threshold.numel(), LARGEST_LEVEL), None


class _RoundInput(torch.autograd.Function):
    """x on the levels 0…255 of a scale and a zero point; the gradients of both, of LSQ+ section 3.1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
        rounded = torch.fake_quantize_per_tensor_affine(x, float(scale), int(zero_point), 0, LEVELS)
        ctx.save_for_backward(x, scale, zero_point, rounded)
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:  # type: ignore[override]
        x, scale, zero_point, rounded = ctx.saved_tensors
        inside = (x >= -(zero_point + 0.5) * scale) & (x <= (LEVELS + 0.5 - zero_point) * scale)
        passed = gradient * inside
        if not ctx.needs_input_grad[1]:
            return passed, None, None
        factor = _gradient_scale(x[0].numel(), LEVELS)
        by_scale = ((gradient * rounded).sum() - (passed * x).sum()) / scale
        by_zero_point = (passed.sum() - gradient.sum()) * scale
        return passed, by_scale * factor, by_zero_point * factor


class _Bounded(torch.autograd.Function):
    """min(x, 0); the gradient passes where it points back inside, so that a value at the bound can leave it again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(max=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        inward: Tensor = gradient * ((x < 0) | (gradient > 0))
        return inward


class _Round(torch.autograd.Function):
    """round(x), as if it were x (Bengio et al. 2013, arXiv:1308.3432)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004 (autograd's signature)
        return x.round()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]  # noqa: ARG004
        return gradient


def _largest(weight: Tensor, entry: Mapping[str, Any]) -> Tensor:
    """The largest magnitude of each channel, [outputs, 1, …], or of the whole weight, [1, 1, …]."""
    first = 0 if entry["granularity"] == "per-tensor" else 1
    return weight.abs().amax(dim=tuple(range(first, weight.dim())), keepdim=True)


def _gradient_scale(values: int, levels: int) -> float:
    """LSQ's balance of a range's gradient with those of the weights: 1 / sqrt(values * levels), section 2.2."""
    return float((values * levels) ** -0.5)
