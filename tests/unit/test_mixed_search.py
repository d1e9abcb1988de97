"""The greedy search of mixed precision, on harms that are given: down to the budget, up to the bound."""

from typing import Any

from slimline.methods.quantize.mixed_cost import Cost
from slimline.methods.quantize.mixed_search import Bound, Judged, Problem, assigned, reverted


def problem(harms: dict[str, dict[str, float]], judge: Any) -> Problem:
    ladders = dict.fromkeys(harms, ("float32", "int8", "int4"))
    sizes = {"float32": 0.0, "int8": -3.0, "int4": -3.5}
    return Problem(ladders, harms, Cost(4.0 * len(harms), 4.0 * len(harms), {name: dict(sizes) for name in harms}), judge, judge)


def test_a_revert_goes_one_step_and_stops_at_the_bound() -> None:
    harms = {"good": {"float32": 0.0, "int8": 0.0, "int4": 0.001}, "bad": {"float32": 0.0, "int8": 0.05, "int4": 0.4}}

    def judge(assignment: Any) -> Judged:
        return Judged(sum(harms[name][precision] for name, precision in assignment.items()), 0.0, 0.0)

    known = problem(harms, judge)
    start = assigned(known, 100.0)
    assert start == {"good": "int4", "bad": "int4"}
    found = reverted(known, start, Bound(0.06), tries=2)
    assert [(one.layer, one.before, one.after) for one in found.reverts] == [("bad", "int4", "int8")]
    assert found.reached
    strict = reverted(known, start, Bound(0.0005), tries=2)
    assert strict.assignment == {"good": "int8", "bad": "float32"}
    assert strict.reached


def test_the_best_seen_is_found_where_reverts_do_harm() -> None:
    harms = {"one": {"float32": 0.0, "int8": 0.1, "int4": 0.2}}
    drops = {"int4": 0.2, "int8": 0.1, "float32": 0.3}
    found = reverted(problem(harms, lambda assignment: Judged(drops[assignment["one"]], 0.0, 0.0)), {"one": "int4"}, Bound(0.05), tries=3)
    assert found.assignment == {"one": "int8"}
    assert not found.reached
    assert len(found.reverts) == 1


def test_the_step_that_saves_most_for_its_harm_is_taken_first() -> None:
    harms = {"cheap": {"float32": 0.0, "int8": 0.01, "int4": 0.02}, "dear": {"float32": 0.0, "int8": 0.1, "int4": 0.11}}
    known = problem(harms, lambda _: Judged(0.0, 0.0, 0.0))
    assert assigned(known, 1.0) == {"cheap": "float32", "dear": "float32"}
    assert assigned(known, 1.5) == {"cheap": "int8", "dear": "float32"}
    assert assigned(known, 1.7) == {"cheap": "int4", "dear": "float32"}
    assert assigned(known, 5.0) == {"cheap": "int8", "dear": "int4"}, "what was saved too much is given back"
    assert assigned(known, 9.0) == {"cheap": "int4", "dear": "int4"}, "the smallest, short of the budget"
