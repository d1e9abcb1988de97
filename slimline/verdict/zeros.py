"""Variants that hold zeros and do no less work: whether that made them faster on this machine, from the measured intervals."""

from collections.abc import Mapping
from typing import Any

from slimline.verdict.noise import place
from slimline.verdict.words import interval, times

NOTICEABLE = 1.2
"""A ratio from which one speaks of a change."""
Facts = Mapping[str, Any]


def zero_share(variant: Facts, baseline: Facts) -> float | None:
    """The share of weights that are zero, where that is a sixth or more and the MACs are still those of the baseline; else None."""
    share = 1 - variant["nonzero"] / max(variant["parameters"], 1)
    less_work = baseline["macs"] / max(variant["macs"], 1)
    return share if share >= 1 - 1 / NOTICEABLE and less_work < NOTICEABLE else None


def speed_of_zeros(same_runtime: Facts, noise_floor: Facts) -> str | None:
    """What both batch sizes say against the float32 teacher on the same target: no speed, none shown, or slower; None if faster."""
    floors = {batch: noise_floor[batch]["value"] for batch in same_runtime}
    places = [place(found["ci"], 1.0, floors[batch]) for batch, found in same_runtime.items()]
    if "above" in places:
        return None
    if all(where == "below" for where in places):
        return "slower on this machine"
    if all(found["ci"][1] * (1 + floors[batch]) < NOTICEABLE for batch, found in same_runtime.items()):
        return "no speed on this machine"
    return f"no speed shown on this machine (intervals and noise do not rule out {times(NOTICEABLE)})"


def zeros_remark(quality: Facts, timing: Facts) -> str | None:
    """The plain sentence on a variant that only holds zeros; None for any other, and where it is measured to be faster."""
    share = zero_share(quality, quality["baseline"])
    said = None if share is None else speed_of_zeros(timing["speed_ratio_same_runtime"], timing["noise_floor"])
    if share is None or said is None:
        return None
    head = "Smaller to ship, not faster" if quality["size_ratio"] >= NOTICEABLE else "Neither smaller nor faster"
    measured = " and ".join(
        f"{times(found['value'])} ({interval(found['ci'], times)}) at {batch.replace('_', ' ')}"
        for batch, found in timing["speed_ratio_same_runtime"].items()
    )
    return (
        f"{head}: {100 * share:.0f} % of the weights are zero, which the dense kernels of {quality['target']} multiply like any other "
        f"number; {said}: {measured} against the float32 teacher on the same target."
    )
