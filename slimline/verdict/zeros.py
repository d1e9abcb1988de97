"""Variants that hold zeros and do no less work: whether that made them faster on this machine, from the measured intervals."""

from collections.abc import Iterable, Mapping
from typing import Any

from slimline.verdict.place import place
from slimline.verdict.words import interval, times

NOTICEABLE = 1.2
"""A ratio from which one speaks of a change."""
NO_SPEED, SLOWER = "no speed on this machine", "slower on this machine"
NOT_SHOWN = f"no speed shown on this machine (the intervals do not rule out {times(NOTICEABLE)})"
Facts = Mapping[str, Any]


def zero_share(variant: Facts, baseline: Facts) -> float | None:
    """The share of weights that are zero, where that is a sixth or more and the MACs are still those of the baseline; else None."""
    share = 1 - variant["nonzero"] / max(variant["parameters"], 1)
    less_work = baseline["macs"] / max(variant["macs"], 1)
    return share if share >= 1 - 1 / NOTICEABLE and less_work < NOTICEABLE else None


def speed_of_zeros(same_runtime: Facts) -> str | None:
    """What both batch sizes say against the float32 teacher on the same target: no speed, none shown, or slower; None if faster."""
    places = [place(found["ci"], 1.0) for found in same_runtime.values()]
    if "above" in places:
        return None
    if all(where == "below" for where in places):
        return SLOWER
    if all(found["ci"][1] < NOTICEABLE for found in same_runtime.values()):
        return NO_SPEED
    return NOT_SHOWN


def in_short(size_ratio: float, said: Iterable[str]) -> str:
    """Size and speed in a few words, no surer of the speed than what `speed_of_zeros` said on each target."""
    surely = NOT_SHOWN not in said
    if size_ratio >= NOTICEABLE:
        return f"Smaller to ship, {'not faster' if surely else 'not shown to be faster'}"
    return f"Not smaller, {'nor faster' if surely else 'nor shown to be faster'}"


def zeros_remark(quality: Facts, timing: Facts) -> str | None:
    """The plain sentence on a variant that only holds zeros; None for any other, and where it is measured to be faster."""
    share = zero_share(quality, quality["baseline"])
    said = None if share is None else speed_of_zeros(timing["speed_ratio_same_runtime"])
    if share is None or said is None:
        return None
    measured = " and ".join(
        f"{times(found['value'])} ({interval(found['ci'], times)}) at {batch.replace('_', ' ')}"
        for batch, found in timing["speed_ratio_same_runtime"].items()
    )
    return (
        f"{in_short(quality['size_ratio'], (said,))}: {100 * share:.0f} % of the weights are zero, which the dense kernels of "
        f"{quality['target']} multiply like any other number; {said}: {measured} against the float32 teacher on the same target."
    )
