"""What each technique and each order is worth: an analysis of variance over all chains, not one lucky pair.

Ordinary least squares over the chains of one training length (all had the brief one), the strengths as covariates. An effect is a
difference of means, what else is in the chain held equal; its interval is Student's. A chain that could not be made says nothing here.
Intervals are of one effect each: of twenty that are shown one may miss by chance.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.regression.linear_model import OLS

from slimline.search.chains import LETTERS
from slimline.search.figures import Figures
from slimline.search.record import Tried

CONFIDENCE = 0.95
LEAST_FREE = 3
"""Degrees of freedom that have to be left for a spread to be told."""
ALIKE = 1e-9
"""Chains that differ by less are equal: a response in which all are is explained by nothing, and has no effects."""
NAMES = {"P": "pruning", "L": "low rank", "D": "distillation", "Q": "quantization"}
Columns = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Effect:
    """By how much something changes one response, with its interval; `share` is the partial share of the variance that it explains."""

    what: str
    response: str
    value: float
    low: float
    high: float
    p_value: float
    share: float
    chains: int


def responses(figures: Figures) -> dict[str, float]:
    """What is explained: the drop, and doublings of smallness and speed."""
    return {"drop": figures.drop, "doublings smaller": math.log2(figures.size_ratio), "doublings quicker": math.log2(figures.time_ratio)}


def technique_effects(tried: Sequence[Tried]) -> tuple[Effect, ...]:
    """What each technique does to a chain that has it, beside one without."""
    known = [one for one in tried if one.brief is not None]
    present = {letter: np.array([float(letter in one.letters) for one in known]) for letter in LETTERS.values()}
    asked = {letter: column for letter, column in present.items() if 0 < column.sum() < len(known)}
    return tuple(_effects(known, {f"{letter} ({NAMES[letter]}) in the chain": column for letter, column in asked.items()}))


def order_effects(tried: Sequence[Tried]) -> tuple[Effect, ...]:
    """Of chains of the same techniques: what one coming before the other does, beside the other way about."""
    known = [one for one in tried if one.brief is not None]
    return tuple(effect for first, then in itertools.combinations(LETTERS.values(), 2) for effect in _pair(known, first, then))


def _pair(known: Sequence[Tried], first: str, then: str) -> Iterator[Effect]:
    """The order of two techniques, over the chains that have both; the other techniques in them are held equal."""
    both = [one for one in known if one.letters.count(first) == 1 == one.letters.count(then)]
    ahead = np.array([float(one.letters.index(first) < one.letters.index(then)) for one in both])
    if 1 < ahead.sum() < len(both) - 1:
        others = {
            letter: np.array([float(letter in one.letters) for one in both]) for letter in LETTERS.values() if letter not in (first, then)
        }
        what = f"{first} before {then}"
        yield from (effect for effect in _effects(both, {what: ahead} | others) if effect.what == what)


def _effects(known: Sequence[Tried], asked: Columns) -> Iterator[Effect]:
    names, design = _design(known, asked)
    if not names or len(known) - design.shape[1] < LEAST_FREE:
        return
    for response in responses(Figures(0.0, 1.0, 1.0)):
        values = np.array([responses(one.brief)[response] for one in known if one.brief is not None])
        if np.allclose(values, values[0], rtol=0, atol=ALIKE):
            continue
        fitted = OLS(values, design).fit()
        intervals = fitted.conf_int(1 - CONFIDENCE)
        for index, name in enumerate(names, start=1):
            value, (low, high) = float(fitted.params[index]), map(float, intervals[index])
            yield Effect(name, response, value, low, high, *_worth(value, float(fitted.bse[index]), float(fitted.df_resid)), len(known))


def _worth(value: float, error: float, free: float) -> tuple[float, float]:
    """The p-value and the partial share of the variance; all of it where nothing is left unexplained."""
    if error == 0:
        return (0.0, 1.0) if value else (1.0, 0.0)
    t = value / error
    return float(2 * stats.t.sf(abs(t), free)), t**2 / (t**2 + free)


def _design(known: Sequence[Tried], asked: Columns) -> tuple[list[str], NDArray[np.float64]]:
    """The matrix: ones, then what is asked, then the strengths; a column that those before it make up is left out, be it asked or not."""
    columns, names = [np.ones(len(known))], list[str]()
    for name, column in (asked | _strengths(known)).items():
        wider = np.column_stack([*columns, column])
        if np.linalg.matrix_rank(wider) == wider.shape[1]:
            columns.append(column)
            names += [name] if name in asked else []
    return names, np.column_stack(columns)


def _strengths(known: Sequence[Tried]) -> Columns:
    """Each knob as its place among its values, from its mean over the chains that have it; 0 in those without."""
    places: dict[str, dict[int, float]] = {}
    for row, one in enumerate(known):
        for step in one.chain:
            for knob, value in step.chosen.items():
                places.setdefault(f"{step.name}.{knob}", {})[row] = float(step.offered.strengths[knob].index(value))
    return {knob: _centred(of, len(known)) for knob, of in places.items()}


def _centred(places: Mapping[int, float], rows: int) -> NDArray[np.float64]:
    column = np.zeros(rows)
    column[list(places)] = np.array(list(places.values())) - np.mean(list(places.values()))
    return column
