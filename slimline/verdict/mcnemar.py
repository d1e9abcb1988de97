"""The exact paired test of two classifiers on the same samples."""

from scipy import stats


def mcnemar_p(lost: int, gained: int) -> float:
    """Two-sided p-value that samples are lost and gained equally often, given how many flipped (McNemar 1947, exact)."""
    return float(stats.binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0
