"""Where an interval lies: one that holds from one launch to the next needs no widening by the noise, so it alone decides."""

from collections.abc import Sequence
from typing import Literal

Place = Literal["above", "below", "unclear"]


def place(interval: Sequence[float], threshold: float) -> Place:
    """Where a ratio's interval lies against a threshold: above it, below it, or across it."""
    low, high = interval
    if low >= threshold:
        return "above"
    return "below" if high < threshold else "unclear"
