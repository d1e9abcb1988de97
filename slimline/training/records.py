"""What methods read of a model's calibration statistics; slimline.calibration.statistics has the classes that hold it."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor


class LayerRecord(Protocol):
    """The inputs of one layer; slimline.calibration.statistics.LayerStatistics is one."""

    @property
    def minimum(self) -> float:
        """The smallest value seen."""

    @property
    def maximum(self) -> float:
        """The largest value seen."""

    @property
    def histogram(self) -> Tensor:
        """Counts of values in equal bins from minimum to maximum, int64 [bins]."""

    @property
    def batch_minimums(self) -> Tensor:
        """The smallest value of each batch, float32 [batches]."""

    @property
    def batch_maximums(self) -> Tensor:
        """The largest value of each batch, float32 [batches]."""

    @property
    def second_moment(self) -> Tensor | None:
        """E[x x^T] of the vectors that the layer's matrix multiplies, [inputs, inputs]; None where it is too large or no plain matrix."""

    def percentile(self, percent: float) -> float:
        """The value below which `percent` (0 to 100) of all values lie."""


class Records(Protocol):
    """Statistics of a model; slimline.calibration.statistics.CalibrationStatistics is one."""

    @property
    def layers(self) -> Mapping[str, LayerRecord]:
        """Module name -> its inputs, for every layer that ran."""
