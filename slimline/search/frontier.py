"""Which chains nothing beats: non-dominated sorting over drop, size and time (Deb et al. 2002, doi:10.1109/4235.996017)."""

import math
from collections.abc import Mapping, Sequence

from slimline.search.figures import Figures


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is nowhere worse and somewhere better; all costs, so the less the better."""
    return all(mine <= theirs for mine, theirs in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def frontier(figures: Mapping[str, Figures]) -> tuple[str, ...]:
    """The chains that no other dominates, in their order; of equal ones all."""
    costs = {name: found.costs for name, found in figures.items()}
    return tuple(name for name, mine in costs.items() if not any(dominates(other, mine) for other in costs.values()))


def ranked(figures: Mapping[str, Figures], max_drop: float) -> tuple[str, ...]:
    """All chains, the best first: front by front, within one by `score`.

    A drop within the margin counts as none, so that chains that are good enough compete by size and time alone.
    """
    eased = {name: Figures(max(found.drop, max_drop), found.size_ratio, found.time_ratio) for name, found in figures.items()}
    order: list[str] = []
    while len(order) < len(eased):
        front = frontier({name: found for name, found in eased.items() if name not in set(order)})
        order += sorted(front, key=lambda name: (-score(figures[name], max_drop), name))
    return tuple(order)


def score(figures: Figures, max_drop: float) -> float:
    """One figure to order a front by: doublings of smallness and of speed, less the margins by which the drop is beyond the first."""
    return math.log2(figures.size_ratio) + math.log2(figures.time_ratio) - max(0.0, figures.drop - max_drop) / max_drop


def chosen(figures: Mapping[str, Figures], most: int, max_drop: float) -> tuple[str, ...]:
    """At most so many of the frontier for the judgement on test: its smallest, its quickest, its most exact, then the best by score.

    Only chains within the margin are on it, where there are any; else those that come nearest to it.
    """
    within = {name: found for name, found in figures.items() if found.drop <= max_drop}
    if not within:
        return tuple(sorted(figures, key=lambda name: (figures[name].drop, name))[:most])
    front = frontier(within)
    ends = [max(front, key=lambda name: (size_first(figures[name]), name)), max(front, key=lambda name: (time_first(figures[name]), name))]
    ends.append(min(front, key=lambda name: (figures[name].drop, -score(figures[name], max_drop), name)))
    rest = sorted(front, key=lambda name: (-score(figures[name], max_drop), name))
    return tuple(dict.fromkeys([*ends, *rest]))[:most]


def size_first(figures: Figures) -> tuple[float, float, float]:
    """Smallest first, then quickest, then most exact."""
    return figures.size_ratio, figures.time_ratio, -figures.drop


def time_first(figures: Figures) -> tuple[float, float, float]:
    """Quickest first, then smallest, then most exact."""
    return figures.time_ratio, figures.size_ratio, -figures.drop
