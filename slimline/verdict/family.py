"""Variants that are judged together: which of them keep the margin, so that the chance of even one false promise stays small.

Holm's step-down procedure (Holm 1979, Scandinavian Journal of Statistics 6:65-70) over the one-sided tests that the gate makes of each
alone. A test at a k-th of the level is an upper bound at the confidence that goes with it, so the bounds are made once, by `evaluate`,
and the margin may change afterwards.

What the same test split judged before stays counted: each test is made at the level's part for those that are left and those before
(Bonferroni over the latter, whose verdicts are not taken back). Of m now and k before, the chance of a false promise is at most m / (m + k)
of the level.
"""

from collections.abc import Mapping
from typing import Any

from slimline.objectives import Objective, Scores
from slimline.verdict.difference import Resampling, metric_drops

SHARES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)
"""Parts of the level for which bounds are made, enough for all that can be deployed (1000 variants on every target); for another the next
smaller part is taken, which is on the safe side."""
Bounds = Mapping[str, Mapping[str, float | None]]
"""Part of the level -> the upper bound of the drop, `value` in the metric's unit and `relative` as a share of the baseline's figure."""


def upper_bounds(objective: Objective, metric: str, baseline: Scores, variant: Scores, resampling: Resampling) -> dict[str, Any]:
    """The upper bounds of one variant's drop at every part of the level."""
    confidences = [1 - (1 - resampling.confidence) / share for share in SHARES]
    drops = metric_drops(objective, metric, baseline, variant, resampling, confidences)
    return {
        str(share): {"value": drop.ci[1], "relative": None if drop.relative_ci is None else drop.relative_ci[1]}
        for share, drop in zip(SHARES, drops, strict=True)
    }


def keeps_together(bounds: Mapping[str, Bounds], most: float, *, relative: bool, before: int = 0) -> frozenset[str]:
    """Which variants are shown to drop by at most `most`, all of them together at the confidence that the bounds were made for.

    `before` others were judged on the same test split earlier.
    """
    kind, left = "relative" if relative else "value", dict(bounds)
    while left:
        share = next((str(one) for one in SHARES if one >= len(left) + before), None)
        shown = [name for name, of in left.items() if share and (bound := of[share][kind]) is not None and bound <= most]
        if not shown:
            break
        for name in shown:
            del left[name]
    return frozenset(bounds.keys() - left.keys())
