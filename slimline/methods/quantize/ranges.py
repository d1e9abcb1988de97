"""Observers: which range of a layer's inputs the 256 levels of an 8-bit activation are spread over."""

import numpy as np
import torch
from torch import Tensor

from slimline.training.records import LayerRecord

LEVELS_UNSIGNED, LEVELS_SIGNED = 256, 128
LEVELS = 255
COARSE_STEP = 16
SMOOTHING = 0.9
SHARES = 128


def input_range(record: LayerRecord, observer: str, percentile: float, *, symmetric: bool = False) -> tuple[float, float]:
    """The range [low, high] that an observer chooses for a layer's inputs; zero is exactly one of its 256 levels.

    `minmax` takes all values; `moving_average` the exponential average of the batches' ends; `percentile` leaves out
    (100 - percentile) per cent at each end; `mse` clips where the expected squared error is least (see `least_error_range`);
    `entropy` where the distribution of the quantized values is nearest to that of the values (see `entropy_threshold`).
    `symmetric` spreads the levels evenly around zero, whose level is then 128 of 0…255.
    """
    low, high = _ends(record, observer, percentile)
    low, high = min(low, 0.0), max(high, 0.0)
    return symmetric_range(low, high) if symmetric else aligned_range(low, high)


def _ends(record: LayerRecord, observer: str, percentile: float) -> tuple[float, float]:
    if observer == "moving_average":
        return moving_average(record.batch_minimums), moving_average(record.batch_maximums)
    if observer == "percentile":
        return record.percentile(100 - percentile), record.percentile(percentile)
    if observer == "mse":
        return least_error_range(record)
    if observer == "entropy":
        threshold = entropy_threshold(record)
        return max(record.minimum, -threshold), min(record.maximum, threshold)
    return record.minimum, record.maximum


def symmetric_range(low: float, high: float) -> tuple[float, float]:
    """The range of 256 levels, 128 below zero and 127 above, that holds low <= 0 <= high but for half a level below."""
    scale = max(-low, high) / 127
    return -128 * scale, 127 * scale


def moving_average(values: Tensor) -> float:
    """The exponential moving average of values [batches]: each weighs 0.9 times the next one, and the weights sum to one.

    Jacob et al. 2018, arXiv:1712.05877, section 3.1; without their start at the first value, which few batches never forget.
    """
    weights = SMOOTHING ** torch.arange(len(values) - 1, -1, -1, dtype=torch.float64)
    return float((values.double() * weights).sum() / weights.sum())


def aligned_range(low: float, high: float) -> tuple[float, float]:
    """The range low <= 0 <= high widened, by less than a level, until zero is one of its 256 levels: padding stays exact."""
    if not high > low:
        return low, high
    zero_point = round(-low / (high - low) * LEVELS)
    scale = max(-low / zero_point if zero_point else 0.0, high / (LEVELS - zero_point) if zero_point < LEVELS else 0.0)
    return -zero_point * scale, (LEVELS - zero_point) * scale


def least_error_range(record: LayerRecord) -> tuple[float, float]:
    """The range whose 256 levels give the least expected squared error: clipping beyond it, rounding (scale^2 / 12) inside.

    Each end is searched in turn over 128 shares of itself, twice. The bin at zero, which a ReLU fills, counts no more than its
    larger neighbour: zero is a level and is never rounded. Banner et al. 2019, arXiv:1810.05723.
    """
    counts, centres = _without_zeros(record)
    low, high = min(record.minimum, 0.0), max(record.maximum, 0.0)
    shares = np.arange(1, SHARES + 1) / SHARES
    for _ in range(2):
        high = _least_error(counts, centres, np.full(SHARES, low), max(record.maximum, 0.0) * shares)[1]
        low = _least_error(counts, centres, min(record.minimum, 0.0) * shares, np.full(SHARES, high))[0]
    return low, high


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


def _without_zeros(record: LayerRecord) -> tuple[np.ndarray, np.ndarray]:
    """The histogram: float64 counts, that of the bin at zero capped, and the centres of the bins."""
    counts = record.histogram.numpy().astype(np.float64)
    edges = np.linspace(record.minimum, record.maximum, len(counts) + 1)
    if record.minimum <= 0 <= record.maximum and record.maximum > record.minimum:
        at_zero = min(int(np.searchsorted(edges, 0.0, side="right")) - 1, len(counts) - 1)
        neighbours = [counts[index] for index in (at_zero - 1, at_zero + 1) if 0 <= index < len(counts)]
        counts[at_zero] = min(counts[at_zero], max(neighbours))
    return counts, (edges[:-1] + edges[1:]) / 2


def _least_error(counts: np.ndarray, centres: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> tuple[float, float]:
    """Of several ranges [candidates], the one with the least expected squared error; the widest of equals."""
    below = (lows[:, None] - centres).clip(min=0)
    above = (centres - highs[:, None]).clip(min=0)
    inside = (below + above == 0) * ((highs - lows)[:, None] / LEVELS) ** 2 / 12
    errors = (inside + below**2 + above**2) @ counts
    best = len(errors) - 1 - int(errors[::-1].argmin())
    return float(lows[best]), float(highs[best])


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
    from scipy.special import rel_entr

    return float(rel_entr(clipped / clipped.sum(), spread / spread.sum()).sum())
