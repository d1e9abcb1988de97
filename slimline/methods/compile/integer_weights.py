"""Integer weights as a graph stores them: the levels that the plan rounds to, and the scales of the weights that were exported."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from slimline.errors import StageError
from slimline.methods.quantize.plan import stored_bits
from slimline.methods.quantize.weights import Grid, derived_grid, levels

TOLERANCE = 1e-3

Floats = NDArray[np.float32]
Integers = NDArray[np.int8] | NDArray[np.uint8]


@dataclass(frozen=True)
class IntegerWeight:
    """A weight [outputs, …] as integers: (levels - zero_point) * scale.

    `levels` are int8 (symmetric) or uint8 [outputs, groups, values of a group], in `bits` bits; `scale` and `zero_point` are
    float32 [outputs, groups], the latter None where it is 0.
    """

    levels: Integers
    scale: Floats
    zero_point: Floats | None
    bits: int

    @property
    def has_whole_zero_points(self) -> bool:
        """Whether the zero points are levels themselves, so that they can be stored in as few bits."""
        if self.zero_point is None:
            return False
        return bool(np.all(self.zero_point == np.clip(np.round(self.zero_point), 0, 2**self.bits - 1)))

    def in_seven_bits(self) -> "IntegerWeight":
        """The same in half as many levels: -64…64 of twice the scale."""
        return replace(self, levels=seven_bits(self.levels), scale=self.scale * 2)

    def unpacked(self) -> Floats:
        """What the integers stand for, float32 [outputs, values]."""
        shifted = self.levels.astype(np.float32) - (0 if self.zero_point is None else self.zero_point[..., None])
        return np.asarray(shifted * self.scale[..., None], np.float32).reshape(len(self.scale), -1)


def seven_bits(levels: Integers) -> NDArray[np.int8]:
    """Half as many levels, int8 of any shape: what stood for L stands for L / 2 of twice the scale."""
    return np.round(levels / 2).astype(np.int8)


def integer_weight(weight: Tensor, entry: Mapping[str, Any], grid: Grid | None, exported: Floats) -> IntegerWeight:
    """The integers of a layer's weight [outputs, …] by its plan entry, scaled to what the graph holds of it.

    Exporting folds a batch norm into the convolution before it, which multiplies each output channel by a factor: the levels stay
    those of the plan, and the factor goes into the scales. `exported` is the graph's float32 weight [outputs, …]; `grid` is the
    stored one, or None where the weight itself tells it.

    Raises:
        StageError: the exported weight is something else than the layer's own times a factor for each channel.
    """
    scale, zero_point = grid or derived_grid(weight, entry)
    whole = levels(weight, entry, grid).reshape(*scale.shape, -1)
    factor = channel_factor(weight, exported)
    if factor is None:
        raise StageError("compile: an exported weight is not its layer's own, scaled by channel; put the layer into keep_float")
    return IntegerWeight(
        whole.numpy(),
        (scale.double().numpy() * factor[:, None]).astype(np.float32),
        None if zero_point is None else zero_point.float().numpy(),
        stored_bits(entry["precision"]),
    )


def token_weight(weight: Tensor, scale: Tensor, input_scale: Tensor, exported: Floats) -> IntegerWeight:
    """The same of a layer whose inputs [inputs] are divided by a scale while it runs: int8 of the weight times it, one `scale` an output.

    Raises:
        StageError: as integer_weight.
    """
    entry = {"precision": "int8", "granularity": "per-channel", "group_size": None}
    return integer_weight(weight.detach() * input_scale, entry, (scale, None), exported * input_scale.numpy())


def channel_factor(weight: Tensor, exported: Floats) -> NDArray[np.float64] | None:
    """By what each channel [outputs] of a layer's weight was multiplied to give `exported`, both [outputs, …]; 1 where it is all zeros.

    None where the exported weight is something else.
    """
    own, found = weight.detach().double().flatten(1).numpy(), exported.astype(np.float64).reshape(len(exported), -1)
    if own.shape != found.shape:
        return None
    power = (own * own).sum(axis=1)
    factor = np.where(power > 0, (own * found).sum(axis=1) / np.where(power > 0, power, 1), 1.0)
    is_own = np.abs(found - own * factor[:, None]).max() <= TOLERANCE * max(np.abs(found).max(), 1e-12)
    return factor if is_own else None
