"""The noise floor: how far from 1 the speed ratio of two equal processes may lie, and what stands out of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Place = Literal["above", "below", "unclear"]


def noise_floor(same_ratio: Mapping[str, Any]) -> dict[str, Any]:
    """From the speed ratio of a model against itself in a second process: {"value", "ratio", "ci"}.

    `value` is the largest departure from 1 that the interval of the A/A ratio still holds.
    """
    low, high = same_ratio["ci"]
    return {"value": max(abs(low - 1), abs(high - 1)), "ratio": same_ratio["value"], "ci": [low, high]}


def place(interval: Sequence[float], threshold: float, floor: float) -> Place:
    """Where a ratio's interval, widened by the noise floor, lies against a threshold: above it, below it, or across it."""
    low, high = interval
    if low * (1 - floor) >= threshold:
        return "above"
    return "below" if high * (1 + floor) < threshold else "unclear"
