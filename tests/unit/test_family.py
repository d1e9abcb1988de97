"""Holm over the variants of a run: the chance that even one worse model is let through stays within the level."""

import numpy as np
import pytest
from scipy.stats import norm

from slimline.objectives.classification import classification
from slimline.verdict.difference import Resampling
from slimline.verdict.family import SHARES, keeps_together, upper_bounds

TWO = classification(("no", "yes"))
RESAMPLING = Resampling(400, 0.95, 0)


def scores(correct: np.ndarray) -> dict[str, np.ndarray]:
    target = np.zeros(len(correct), np.int64)
    return {"answer": 1 - correct, "target": target, "correct": correct, "error": 1 - correct}


def bounds_of(lost: int, gained: int, samples: int = 1000) -> dict[str, dict[str, float]]:
    before, after = np.ones(samples, np.int64), np.ones(samples, np.int64)
    after[:lost] = 0
    before[lost : lost + gained] = 0
    return upper_bounds(TWO, "accuracy", scores(before), scores(after), RESAMPLING)


def test_bounds_grow_with_how_many_are_judged() -> None:
    found = [bounds_of(10, 5)[str(share)]["value"] for share in SHARES]
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_one_alone_needs_what_the_gate_needs() -> None:
    bounds = bounds_of(10, 5)
    alone = bounds["1"]["value"]
    assert keeps_together({"a": bounds}, alone, relative=False) == {"a"}
    assert keeps_together({"a": bounds}, alone - 1e-6, relative=False) == frozenset()


def test_what_holds_alone_may_not_hold_among_many() -> None:
    edge, good = bounds_of(10, 5), bounds_of(0, 0)
    margin = edge["1"]["value"] + 1e-6
    assert keeps_together({"a": edge, "b": bounds_of(60, 0)}, margin, relative=False) == frozenset()
    assert keeps_together({"a": edge, "b": good}, margin, relative=False) == {"a", "b"}, "what is shown leaves the level to the others"


@pytest.mark.parametrize("judged", [64, 200, 256, 600])
def test_the_level_holds_for_as_many_as_a_search_may_judge(judged: int) -> None:
    reach, wrong, experiments = {share: norm.ppf(1 - 0.05 / share) for share in SHARES}, 0, 200
    for drops in np.random.default_rng(0).standard_normal((experiments, judged)):  # all of them at the margin
        bounds = {str(name): {str(share): {"value": drop + reach[share]} for share in SHARES} for name, drop in enumerate(drops)}
        wrong += bool(keeps_together(bounds, 0.0, relative=False))
    assert wrong / experiments <= 0.05 + 2 * (0.05 * 0.95 / experiments) ** 0.5


def test_more_than_that_are_shown_nothing() -> None:
    good = {str(share): {"value": 0.0} for share in SHARES}
    assert keeps_together(dict.fromkeys(map(str, range(256)), good), 0.01, relative=False)
    assert keeps_together(dict.fromkeys(map(str, range(257)), good), 0.01, relative=False) == frozenset()


def test_a_relative_margin_is_read_of_the_relative_bounds() -> None:
    bounds = bounds_of(10, 5)
    assert bounds["1"]["relative"] > bounds["1"]["value"]
    assert keeps_together({"a": bounds}, bounds["1"]["value"], relative=True) == frozenset()


def test_false_promises_among_four_are_as_rare_as_the_level() -> None:
    generator, wrong, margin, samples = np.random.default_rng(0), 0, 0.02, 800
    experiments = 8
    for _ in range(experiments):
        before = (generator.random(samples) < 0.97).astype(np.int64)
        variants = {}
        for name in range(4):
            flipped = generator.random(samples) < 0.05
            worse = np.where(flipped, (generator.random(samples) < 0.3).astype(np.int64), before)
            variants[str(name)] = upper_bounds(TWO, "accuracy", scores(before), scores(worse), RESAMPLING)
        true_drop = 0.05 * (0.97 - 0.3)
        assert true_drop > margin
        wrong += bool(keeps_together(variants, margin, relative=False))
    assert wrong / experiments <= 0.05
