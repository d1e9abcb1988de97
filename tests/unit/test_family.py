"""Holm over the variants of a run: the chance that even one worse model is let through stays within the level."""

import numpy as np
import pytest
from scipy import stats

from slimline.objectives.classification import classification
from slimline.objectives.regression import regression
from slimline.params import TARGETS
from slimline.params.section import MOST_NAMES
from slimline.verdict import difference
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
    bounds = bounds_of(10, 5)
    found = [bounds[str(share)]["value"] for share in SHARES]
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


def test_a_relative_margin_is_read_of_the_relative_bounds() -> None:
    bounds = bounds_of(10, 5)
    assert bounds["1"]["relative"] > bounds["1"]["value"]
    assert keeps_together({"a": bounds}, bounds["1"]["value"], relative=True) == frozenset()


@pytest.mark.parametrize("count", [64, 224, 512])
def test_false_promises_among_many_are_as_rare_as_the_level(count: int) -> None:
    """All at the margin, normal errors of 1: a search's frontier of 32 on seven targets is 224 of them."""
    draws = np.random.default_rng(0).standard_normal((200, count))
    added = {share: float(stats.norm.isf(0.05 / share)) for share in SHARES}
    wrong = 0
    for row in draws:
        bounds = {
            str(name): {str(share): {"value": at + more, "relative": None} for share, more in added.items()} for name, at in enumerate(row)
        }
        wrong += bool(keeps_together(bounds, 0.0, relative=False))
    assert wrong / len(draws) <= 0.07


def test_what_was_judged_before_stays_counted() -> None:
    bounds, good = bounds_of(10, 5), bounds_of(0, 0)
    margin = bounds["2"]["value"] + 1e-6
    assert keeps_together({"a": bounds, "b": good}, margin, relative=False) == {"a", "b"}
    assert bounds["4"]["value"] > margin
    assert keeps_together({"a": bounds, "b": good}, margin, relative=False, before=2) == {"b"}
    assert keeps_together({"a": bounds}, margin, relative=False, before=SHARES[-1]) == frozenset()


def test_false_promises_of_the_last_of_several_frontiers_are_rarer_than_the_level() -> None:
    """Four frontiers of four at the margin, normal errors of 1: of 16 judged the last four have a quarter of the level."""
    draws = np.random.default_rng(0).standard_normal((4000, 4))
    added = {share: float(stats.norm.isf(0.05 / share)) for share in SHARES}
    wrong = 0
    for row in draws:
        bounds = {
            str(name): {str(share): {"value": at + more, "relative": None} for share, more in added.items()} for name, at in enumerate(row)
        }
        wrong += bool(keeps_together(bounds, 0.0, relative=False, before=12))
    assert 0.5 * 0.0125 < wrong / len(draws) < 1.5 * 0.0125


def test_there_are_bounds_for_all_that_can_be_deployed_and_more_than_that_show_nothing() -> None:
    assert SHARES[-1] >= MOST_NAMES * len(TARGETS)
    sure = {str(share): {"value": 0.0, "relative": None} for share in SHARES}
    assert keeps_together({str(name): sure for name in range(SHARES[-1] + 1)}, 0.1, relative=False) == frozenset()


def test_bounds_are_of_one_set_of_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many bounds as they are, the resamples are drawn once, and each is what the drop at its confidence ends with."""
    generator, drawn = np.random.default_rng(0), list[int]()
    kept = difference.resampled_drop
    monkeypatch.setattr(difference, "resampled_drop", lambda *given: drawn.append(1) or kept(*given))
    objective = regression()
    before, after = ({"absolute_error": error, "error": error, "target": error} for error in generator.gamma(2.0, size=(2, 60)))
    bounds = upper_bounds(objective, "mean_absolute_error", before, after, RESAMPLING)
    assert len(drawn) == 1
    alone = difference.metric_drop(objective, "mean_absolute_error", before, after, Resampling(400, 1 - 0.05 / 8, 0))
    assert (bounds["8"]["value"], bounds["8"]["relative"]) == (alone.ci[1], alone.relative_ci and alone.relative_ci[1])


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
