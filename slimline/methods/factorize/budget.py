"""Ranks under a budget for the whole model: spent where it harms least.

Every layer has a ladder of ranks. What a rank harms is measured: how far the model's outputs move when that layer alone is
factorized at a rank in the middle of its ladder, scaled to other ranks by the energy that they lose, since a layer's error and the
outputs' are about proportional. Of each layer's ladder the lower convex hull of harm over saving is kept, and the steps of all layers
are taken in the order of harm for what they save, until the budget is met: the greedy solution of this knapsack (Everett 1963).
"""

import bisect
import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import nn

from slimline.data.batch import Batch, Tensors, take
from slimline.errors import Impossible, StageError
from slimline.methods.data import MethodData
from slimline.methods.factorize.decomposition import Decomposition, Ranks, chain, replaced, unfilled, weight_of
from slimline.methods.factorize.ranks import ladder
from slimline.methods.macs import macs
from slimline.params.factorize import RankBudget
from slimline.training.fit import predict

LEAST = 1e-12
WORK = 2e13
"""Multiply-accumulates to spend on trying layers alone: some minutes on two cores."""
Shapes = Mapping[str, Sequence[tuple[int, ...]]]
Saving = Callable[[Ranks], float]
"""Ranks of a layer -> the share of the model that they save."""


@dataclass(frozen=True)
class Option:
    """Ranks of one layer: the share of the model that they save, and the squared move of the outputs."""

    layer: str
    ranks: Ranks
    saved: float
    harm: float


@dataclass(frozen=True)
class Spent:
    """The ranks that were found, each layer's predicted move of the outputs, and (share left, move of the outputs) along the search."""

    ranks: Mapping[str, Ranks]
    harms: Mapping[str, float]
    path: tuple[tuple[float, float], ...]
    x_label: str


def spent(
    model: nn.Module, decompositions: Mapping[str, Decomposition], shapes: Shapes, budget: RankBudget, round_to: int, data: MethodData
) -> Spent:
    """The ranks that meet the budget; a layer that they leave as it is has none.

    A latency is measured (`data.latency_ms`), by bisection over the steps, whose order is by parameters and MACs in equal parts: one
    sample's time goes into reading weights as well as into arithmetic.

    Raises:
        StageError: even the last step does not meet it.
    """
    whole = (sum(value.numel() for value in model.parameters()), macs(model, data.example))
    savings = {name: _saving(one, shapes[name], budget.kind, whole) for name, one in decompositions.items()}
    options = all_options(model, decompositions, savings, round_to, data)
    steps = ordered_steps(options)
    if budget.kind == "latency":
        taken = _within_latency(model, decompositions, steps, budget, data)
    else:
        taken = _within_share(options, steps, budget)
    path = tuple((1 - saved, sqrt(harm)) for saved, harm in _totals(steps))
    label = "parameters and MACs left, in equal parts" if budget.kind == "latency" else f"share of {budget.kind} left"
    return Spent(
        {name: one.ranks for name, one in taken.items()},
        {name: sqrt(max(0.0, one.harm)) for name, one in taken.items()},
        ((1.0, 0.0), *path),
        label,
    )


def all_options(
    model: nn.Module, decompositions: Mapping[str, Decomposition], savings: Mapping[str, Saving], round_to: int, data: MethodData
) -> dict[str, tuple[Option, ...]]:
    """Layer -> what its ladder saves, and how far it moves the outputs on the calibration sample."""
    sample = take(data.calibration, slice(0, affordable(model, len(decompositions), data)))
    reference = predict(model, sample)
    found = {}
    for name, one in decompositions.items():
        ranks = next((rungs for step in (round_to, 1) if (rungs := ladder(one, step, sparse=one.scheme.costly))), ())
        scale = _harm_scale(model, name, one, ranks[len(ranks) // 2], reference, sample, data) if ranks else 0.0
        found[name] = tuple(Option(name, tried, savings[name](tried), scale * one.fit.lost(tried)) for tried in ranks)
    return found


def affordable(model: nn.Module, layers: int, data: MethodData) -> int:
    """On how many samples every layer can be tried with at most WORK multiply-accumulates; at least 1."""
    return max(int(WORK / (max(layers, 1) * max(macs(model, data.example), 1))), 1)


def ordered_steps(options: Mapping[str, Sequence[Option]]) -> tuple[tuple[Option, float, float], ...]:
    """(option, what it saves more, what it harms more than the layer's option before it), the least harm for its saving first."""
    steps = []
    for ladder_of_one in options.values():
        saved = harm = 0.0
        for option in hull(ladder_of_one):
            steps.append((option, option.saved - saved, option.harm - harm))
            saved, harm = option.saved, option.harm
    return tuple(sorted(steps, key=lambda step: step[2] / step[1]))


def hull(options: Sequence[Option]) -> tuple[Option, ...]:
    """The options on the lower convex hull of harm over saving, from nothing saved at no harm upwards."""
    kept: list[Option] = []
    saved = harm = 0.0
    while further := [option for option in options if option.saved > saved + LEAST]:
        best = min(further, key=lambda option: ((option.harm - harm) / (option.saved - saved), -option.saved))
        kept.append(best)
        saved, harm = best.saved, best.harm
    return tuple(kept)


def _harm_scale(
    model: nn.Module, name: str, one: Decomposition, probe: Ranks, reference: Tensors, sample: Batch, data: MethodData
) -> float:
    """The squared move of the outputs for a unit of energy lost."""
    outputs = predict(replaced(model, {name: chain(one, probe)}), sample)
    return data.objective.distance(reference, outputs) ** 2 / max(one.fit.lost(probe), LEAST)


def _saving(one: Decomposition, shapes: Sequence[tuple[int, ...]], kind: str, whole: tuple[int, int]) -> Saving:
    """What some ranks save: the share of the model's parameters, of its MACs, or (for a latency) half of each."""
    before = one.layer.weight.numel()
    places = positions(unfilled(one, one.limits), shapes)
    macs_before = before * positions(nn.Sequential(copy.deepcopy(one.layer)).to("meta"), shapes)[0]

    def saved(ranks: Ranks) -> float:
        sizes = one.sizes(ranks)
        parameters = (before - sum(sizes)) / whole[0]
        macs = (macs_before - sum(size * place for size, place in zip(sizes, places, strict=True))) / max(whole[1], 1)
        return {"parameters": parameters, "macs": macs, "latency": (parameters + macs) / 2}[kind]

    return saved


def positions(layers: nn.Sequential, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """How often each weight of each layer is used for one sample, over all calls: layers on the device `meta`, run on `shapes`."""
    counts = [0] * len(layers)
    for shape in shapes:
        x = torch.empty(1, *shape, device="meta")
        for index, layer in enumerate(layers):
            x = layer(x)
            counts[index] += x.numel() // weight_of(layer).shape[0]
    return tuple(counts)


def _within_share(
    options: Mapping[str, Sequence[Option]], steps: Sequence[tuple[Option, float, float]], budget: RankBudget
) -> dict[str, Option]:
    """The first steps that save enough; the layer of the last one takes the least harm that is enough."""
    needed = 1 - budget.share
    totals = [saved for saved, _ in _totals(steps)]
    count = bisect.bisect_left(totals, needed - LEAST)
    if count == len(steps):
        raise Impossible(_out_of_reach(budget, 1 - (totals[-1] if totals else 0.0)))
    taken = _state(steps[: count + 1])
    last = steps[count][0].layer
    others = sum(option.saved for name, option in taken.items() if name != last)
    enough = [option for option in options[last] if others + option.saved >= needed - LEAST]
    return taken | {last: min(enough, key=lambda option: option.harm)}


def _within_latency(
    model: nn.Module,
    decompositions: Mapping[str, Decomposition],
    steps: Sequence[tuple[Option, float, float]],
    budget: RankBudget,
    data: MethodData,
) -> dict[str, Option]:
    if data.latency_ms is None:
        raise StageError("factorize: budget.latency needs a stage that measures latency; give budget.parameters or budget.macs")
    measure, source_ms = data.latency_ms, data.latency_ms(model)

    def share(count: int) -> float:
        chains = {name: chain(decompositions[name], option.ranks) for name, option in _state(steps[:count]).items()}
        return measure(replaced(model, chains)) / source_ms

    least = share(len(steps)) if steps else 1.0
    if least > budget.share:
        raise StageError(_out_of_reach(budget, least))
    return _state(steps[: bisect.bisect_left(range(1, len(steps)), True, key=lambda tried: share(tried) <= budget.share) + 1])


def _state(steps: Sequence[tuple[Option, float, float]]) -> dict[str, Option]:
    """Layer -> its last option; later steps of a layer save more."""
    return {option.layer: option for option, _, _ in steps}


def _totals(steps: Sequence[tuple[Option, float, float]]) -> list[tuple[float, float]]:
    saved = itertools.accumulate(step[1] for step in steps)
    harm = itertools.accumulate(step[2] for step in steps)
    return [(one, max(0.0, other)) for one, other in zip(saved, harm, strict=True)]


def _out_of_reach(budget: RankBudget, least: float) -> str:
    asked = f"budget.{budget.kind} {budget.share:g}"
    return f"factorize: {asked} is out of reach: the least that these layers can leave is {least:.3f}; raise it in params.yaml"
