"""Which layer gets which precision: a greedy assignment to a budget, then greedy reverts to an accuracy bound."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from slimline.methods.quantize.mixed_cost import Assignment, Cost

LEAST = 1e-9
Ladders = Mapping[str, Sequence[str]]
"""Layer -> what it may become, the most exact first."""
Harms = Mapping[str, Mapping[str, float]]
"""Layer -> precision -> the harm of that alone."""


@dataclass(frozen=True)
class Judged:
    """What a plan does to the outputs: `drop` of the metric, share of `flips` of answers, and `divergence` (see mixed_candidates.py)."""

    drop: float
    flips: float
    divergence: float

    @property
    def harm(self) -> float:
        """One figure: the drop, and the divergence, which tells apart what a small split cannot."""
        return max(self.drop, 0.0) + self.divergence


@dataclass(frozen=True)
class Bound:
    """The accuracy bound, both ends included."""

    max_drop: float
    max_flips: float | None = None

    def excess(self, judged: Judged) -> float:
        """How far a plan is beyond it; 0 holds it."""
        flips = 0.0 if self.max_flips is None else max(judged.flips - self.max_flips, 0.0)
        return max(judged.drop - self.max_drop, 0.0) + flips


@dataclass(frozen=True)
class Revert:
    """One layer that went a step up, how the whole plan was judged before and after it, and which layers were tried."""

    layer: str
    before: str
    after: str
    judged_before: Judged
    judged_after: Judged
    cost: float
    tried: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """The best assignment, how it was judged, and the reverts that led to it from `start`; `reached`: it holds the bound."""

    assignment: Assignment
    judged: Judged
    start: Assignment
    first: Judged
    reverts: tuple[Revert, ...]
    reached: bool


@dataclass(frozen=True)
class Problem:
    """What the search knows: the ladder, harms alone and cost of each layer, and how whole plans are judged.

    `judge` takes all samples, `trial` some: it decides which layer to revert.
    """

    ladders: Ladders
    harms: Harms
    cost: Cost
    judge: Callable[[Assignment], Judged]
    trial: Callable[[Assignment], Judged]


def assigned(problem: Problem, ratio: float) -> dict[str, str]:
    """From the most exact plan down, one layer at a time, until the budget is met: the most saving for each unit of added harm.

    Harms are those of each layer alone, taken to add up, as in Dong et al. 2019, "HAWQ-V2", arXiv:1911.03852. Where nothing
    that is left saves anything, the smallest plan is given, short of the budget. What the last steps saved too much is given
    back: the most harmful layer that can go a step up within the budget does, again and again.
    """
    assignment = {layer: ladder[0] for layer, ladder in problem.ladders.items()}
    while problem.cost.ratio(assignment) < ratio:
        moves = list(_moves(problem, assignment))
        if not moves:
            break
        layer, precision = max(moves, key=lambda move: _worth(problem, assignment, *move))
        assignment[layer] = precision
    return _relaxed(problem, assignment, ratio)


def reverted(problem: Problem, start: Assignment, bound: Bound, tries: int) -> Found:
    """Step layers back up until the bound holds: of the `tries` most harmful ones that whose step gains most for its cost.

    Where nothing is left to revert, the best assignment that was seen is found, with `reached` false.
    """
    current, judged = dict(start), problem.judge(start)
    first, reverts, seen = judged, list[Revert](), [(dict(start), judged, 0)]
    while bound.excess(judged) > 0 and (open_layers := _most_harmful(problem, current, tries)):
        layer, cost = _best_step(problem, current, open_layers)
        before, after = current[layer], _up(problem, current, layer)
        current[layer] = after
        previous, judged = judged, problem.judge(current)
        reverts.append(Revert(layer, before, after, previous, judged, cost, open_layers))
        seen.append((dict(current), judged, len(reverts)))
    assignment, judged, count = min(seen, key=lambda one: (bound.excess(one[1]), one[1].harm, one[2]))
    return Found(assignment, judged, start, first, tuple(reverts[:count]), bound.excess(judged) == 0)


def _relaxed(problem: Problem, assignment: dict[str, str], ratio: float) -> dict[str, str]:
    relaxed = dict(assignment)
    while affordable := [
        layer
        for layer in _most_harmful(problem, relaxed, len(relaxed))
        if _gain(problem, relaxed, layer) > 0 and problem.cost.ratio({**relaxed, layer: _up(problem, relaxed, layer)}) >= ratio
    ]:
        relaxed[affordable[0]] = _up(problem, relaxed, affordable[0])
    return relaxed


def _moves(problem: Problem, assignment: Assignment) -> Iterator[tuple[str, str]]:
    for layer, now in assignment.items():
        ladder = problem.ladders[layer]
        for precision in ladder[ladder.index(now) + 1 :]:
            if problem.cost.saving(layer, now, precision) > 0:
                yield layer, precision


def _worth(problem: Problem, assignment: Assignment, layer: str, precision: str) -> float:
    now = assignment[layer]
    added = problem.harms[layer][precision] - problem.harms[layer][now]
    return problem.cost.saving(layer, now, precision) / max(added, LEAST)


def _up(problem: Problem, assignment: Assignment, layer: str) -> str:
    ladder = problem.ladders[layer]
    return ladder[ladder.index(assignment[layer]) - 1]


def _most_harmful(problem: Problem, assignment: Assignment, tries: int) -> tuple[str, ...]:
    """The layers that can go up, by the harm that their step takes back, alone."""
    gains = {layer: _gain(problem, assignment, layer) for layer, now in assignment.items() if now != problem.ladders[layer][0]}
    return tuple(sorted(gains, key=lambda layer: -gains[layer])[:tries])


def _gain(problem: Problem, assignment: Assignment, layer: str) -> float:
    return problem.harms[layer][assignment[layer]] - problem.harms[layer][_up(problem, assignment, layer)]


def _best_step(problem: Problem, assignment: Assignment, layers: Sequence[str]) -> tuple[str, float]:
    """The layer whose step up gains most for what it costs, measured in the whole plan; and that cost."""
    now = problem.trial(assignment).harm
    steps = {layer: _up(problem, assignment, layer) for layer in layers}
    gains = {layer: now - problem.trial({**assignment, layer: up}).harm for layer, up in steps.items()}
    costs = {layer: -problem.cost.saving(layer, assignment[layer], up) for layer, up in steps.items()}
    best = max(layers, key=lambda layer: gains[layer] / max(costs[layer], LEAST) if gains[layer] > 0 else gains[layer])
    return best, costs[best]
