"""Which of many variants are shown to be good enough, so that the chance of even one false promise stays small.

Each variant has the p-value of its one-sided non-inferiority test: that its true drop is the margin or more. Holm's step-down procedure
(Holm 1979, Scandinavian Journal of Statistics 6:65-70) holds for tests that depend on each other in any way, as those on one test set do.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from scipy import stats

from slimline.objectives import Objective, Scores, metric_of
from slimline.verdict.difference import Resampling, flipped, is_exact, resampled_drop, tango_score, unmoved


@dataclass(frozen=True)
class Familywise:
    """A variant's p-value adjusted for all that were tried, and whether its drop is shown to be below the margin."""

    adjusted: float
    is_shown: bool


def familywise(p_values: Mapping[str, float], confidence: float) -> dict[str, Familywise]:
    """Variant -> its verdict among all; the level is (1 - confidence) / 2, one end of an interval, as for a single variant in the gate."""
    level, adjusted = (1 - confidence) / 2, 0.0
    found = {}
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda one: one[1])):
        adjusted = max(adjusted, min(1.0, (len(p_values) - rank) * p))
        found[name] = Familywise(adjusted, adjusted <= level)
    return {name: found[name] for name in p_values}


def non_inferiority_p(
    objective: Objective, metric: str, baseline: Scores, variant: Scores, margin: float, resampling: Resampling, *, relative: bool = False
) -> float:
    """The one-sided p-value that the true drop is `margin` or more, from the test by which `metric_drop` makes its interval.

    With `relative` the margin is a share of the baseline's figure. It is (1 - confidence) / 2 or less where the interval ends below the
    margin; from a bootstrap it is never below 1 / (1 + resamples).
    """
    asked = metric_of(objective, metric)
    before = abs(float(asked.figure(baseline)))
    if is_exact(asked, baseline):
        least = margin * before if relative else margin
        if least >= 1:
            return 0.0
        return float(stats.norm.cdf(tango_score(least, *flipped(asked, baseline, variant), len(baseline["error"]))))
    drop, share = resampled_drop(asked, baseline, variant, resampling)
    if drop.is_still:
        return unmoved(asked, drop.value, baseline).at_least(margin * before if relative else margin)
    if relative:
        return 1.0 if share is None else share.at_least(margin)
    return drop.at_least(margin)
