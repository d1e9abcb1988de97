"""Observers: which range of a layer's inputs the 256 levels of an 8-bit activation are spread over."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from scipy.special import rel_entr
from torch import Tensor

LEVELS_UNSIGNED, LEVELS_SIGNED = 256, 128
LEVELS = 255
COARSE_STEP = 16


class LayerRecord(Protocol):
    """What an observer needs of one layer's inputs; slimline.calibration.statistics.LayerStatistics is one."""

    @property
    def minimum(self) -> float:
        """The smallest value seen."""

    @property
    def maximum(self) -> float:
        """The largest value seen."""

    @property
    def histogram(self) -> Tensor:
        """Counts of values in equal bins from minimum to maximum, int64 [bins]."""

    def percentile(self, percent: float) -> float:
        """The value below which `percent` (0 to 100) of all values lie."""


class Records(Protocol):
    """Statistics of a model; slimline.calibration.statistics.CalibrationStatistics is one."""

    @property
    def layers(self) -> Mapping[str, LayerRecord]:
        """Module name -> its inputs, for every layer that ran."""


def input_range(record: LayerRecord, observer: str, percentile: float) -> tuple[float, float]:
    """The range [low, high] that an observer chooses for a layer's inputs; zero is exactly one of its 256 levels.

    `minmax` takes all values, `percentile` leaves out (100 - percentile) per cent at each end, `entropy` clips where the
    distribution of the quantized values is nearest to that of the values (see `entropy_threshold`).
    """
    low, high = record.minimum, record.maximum
    if observer == "percentile":
        low, high = record.percentile(100 - percentile), record.percentile(percentile)
    elif observer == "entropy":
        threshold = entropy_threshold(record)
        low, high = max(low, -threshold), min(high, threshold)
    return aligned_range(min(low, 0.0), max(high, 0.0))


def aligned_range(low: float, high: float) -> tuple[float, float]:
    """The range low <= 0 <= high widened, by less than a level, until zero is one of its 256 levels: padding stays exact."""
    if not high > low:
        return low, high
    zero_point = round(-low / (high - low) * LEVELS)
    scale = max(-low / zero_point if zero_point else 0.0, high / (LEVELS - zero_point) if zero_point < LEVELS else 0.0)
    return -zero_point * scale, (LEVELS - zero_point) * scale


def entropy_threshold(record: LayerRecord) -> float:
    """The magnitude to clip at: least Kullback-Leibler divergence of the quantized from the clipped distribution.

    Migacz, "8-bit inference with TensorRT", GTC 2017; the bin at zero, which a ReLU fills, counts no more than its neighbour,
    as in NVIDIA's own calibrator. Thresholds are tried every 16 bins, then every bin around the best.
    """
    counts, width = _magnitudes(record)
    levels = LEVELS_SIGNED if record.minimum < 0 else LEVELS_UNSIGNED
    if len(counts) <= levels or width <= 0:
        return max(abs(record.minimum), abs(record.maximum))
    coarse = _best(counts, levels, [*range(levels, len(counts), COARSE_STEP), len(counts)])
    fine = range(max(levels, coarse - COARSE_STEP), min(len(counts), coarse + COARSE_STEP) + 1)
    return _best(counts, levels, list(fine)) * width


def weight_scales(weight: Tensor) -> Tensor:
    """Symmetric int8 scales, one an output channel: the largest magnitude becomes 127. [outputs, …] -> [outputs, 1, …]."""
    largest = weight.detach().abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True)
    return torch.where(largest > 0, largest, torch.ones_like(largest)) / 127


def _magnitudes(record: LayerRecord) -> tuple[np.ndarray, float]:
    """The histogram of absolute values: float64 counts and the width of a bin."""
    histogram = record.histogram.numpy()
    edges = np.linspace(record.minimum, record.maximum, len(histogram) + 1)
    centres = np.abs((edges[:-1] + edges[1:]) / 2)
    largest = max(abs(record.minimum), abs(record.maximum))
    counts, _ = np.histogram(centres, len(histogram), (0.0, largest), weights=histogram)
    counts[0] = counts[1]
    return counts.astype(np.float64), largest / len(histogram)


def _best(counts: np.ndarray, levels: int, kept: list[int]) -> int:
    divergences = [_divergence(counts, bins, levels) for bins in kept]
    return max(bins for bins, divergence in zip(kept, divergences, strict=True) if divergence == min(divergences))


def _divergence(counts: np.ndarray, bins: int, levels: int) -> float:
    """KL(clipped distribution of `bins` bins || the same in `levels` levels), in nats."""
    clipped = counts[:bins].copy()
    occupied = clipped > 0
    clipped[-1] += counts[bins:].sum()
    group = np.arange(bins) * levels // bins
    totals = np.bincount(group, counts[:bins], minlength=levels)
    members = np.bincount(group, occupied, minlength=levels)
    spread = np.where(occupied, totals[group] / np.maximum(members[group], 1), 0.0)
    if not spread.any():
        return float("inf")
    return float(rel_entr(clipped / clipped.sum(), spread / spread.sum()).sum())
