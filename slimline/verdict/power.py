"""Which drop a test set could have shown: the power of the exact McNemar test."""

import numpy as np
from scipy import optimize, stats

TARGET_POWER = 0.8
NEGLIGIBLE = 1e-12


def detectable_drop(samples: int, lost: int, gained: int, confidence: float, power: float = TARGET_POWER) -> float:
    """The smallest true drop of accuracy that would have been significant with the given power.

    Samples flip at the observed rate, or at that of the drop itself where it is larger. 1.0 where no drop reaches the power.
    """
    flipped = (lost + gained) / samples

    def lacking(drop: float) -> float:
        return mcnemar_power(samples, drop, flipped, confidence) - power

    return float(optimize.brentq(lacking, 0.0, 1.0, xtol=1e-6)) if lacking(1.0) > 0 else 1.0


def mcnemar_power(samples: int, drop: float, flipped: float, confidence: float) -> float:
    """How likely the exact two-sided McNemar test shows a true drop; `flipped` is the share of samples that flip.

    Sums over how many samples flip, which is binomial, the chance that enough of them are losses (Duffy 1984).
    """
    rate = max(flipped, drop)
    if rate == 0:
        return 0.0
    losses = (rate + drop) / 2 / rate
    first, last = stats.binom.ppf([NEGLIGIBLE, 1 - NEGLIGIBLE], samples, rate)
    flips = np.arange(int(first), int(last) + 1)
    needed = stats.binom.isf((1 - confidence) / 2, flips, 0.5) + 1
    return float((stats.binom.pmf(flips, samples, rate) * stats.binom.sf(needed - 1, flips, losses)).sum())
