"""Where a change comes from: the four runs of two codes with two sets of parameters."""

import pytest

from flows.bisect import data_came_back
from slimline.errors import InputError
from slimline.nights.attribution import (
    BOTH,
    BOTH_A,
    BOTH_B,
    CODE,
    NOT_ANEW,
    ONLY_CODE,
    ONLY_PARAMETERS,
    OUTSIDE,
    PARAMETERS,
    TOGETHER,
    UNDECIDED,
    VERDICT,
    cells,
    finding,
    moves,
    parameter_differences,
)
from slimline.params.files import located, params_files
from tests.unit.test_nights import figure, night

GOOD, BAD, HALF = 0.98, 0.80, 0.01


def made(**values):
    names = {"aa": BOTH_A, "bb": BOTH_B, "ba": ONLY_CODE, "ab": ONLY_PARAMETERS}
    return {
        names[name]: value if isinstance(value, str) else night(1, {"accuracy": figure(value, HALF)}, "accept" if value > 0.9 else "reject")
        for name, value in values.items()
    }


RECORDED = tuple(moves(night(1, {"accuracy": figure(GOOD, HALF)}), night(2, {"accuracy": figure(BAD, HALF)}, verdict="reject")))


@pytest.mark.parametrize(
    ("runs", "differing", "cause"),
    [
        (made(aa=GOOD, bb=BAD, ba=BAD, ab=GOOD), (CODE, PARAMETERS), CODE),
        (made(aa=GOOD, bb=BAD, ba=GOOD, ab=BAD), (CODE, PARAMETERS), PARAMETERS),
        (made(aa=GOOD, bb=BAD, ba=BAD, ab=BAD), (CODE, PARAMETERS), BOTH),
        (made(aa=GOOD, bb=BAD, ba=GOOD, ab=GOOD), (CODE, PARAMETERS), TOGETHER),
        (made(aa=GOOD, bb=BAD, ba=0.9805, ab=BAD), (CODE, PARAMETERS), PARAMETERS),  # within the noise
        (made(aa=GOOD, bb=BAD), (CODE,), CODE),
        (made(aa=GOOD, bb=GOOD), (CODE,), OUTSIDE),  # does not come back: libraries, machine
        (made(aa=BAD, bb=GOOD), (PARAMETERS,), OUTSIDE),  # comes back the other way round
        (made(aa=GOOD, bb=BAD, ba="failed: prune", ab=BAD), (CODE, PARAMETERS), UNDECIDED),
        ({}, (), OUTSIDE),
    ],
)
def test_a_cause_is_what_brings_the_change_back_by_itself(runs, differing, cause):
    found = finding(RECORDED[0], runs, ("library torch differs (2.12 to 2.13)",), differing)
    assert found.cause == cause
    assert (cause != OUTSIDE) or "torch" in found.why


def test_a_verdict_that_changed_is_a_change_too():
    assert [one.name for one in RECORDED] == ["accuracy", VERDICT]
    assert finding(RECORDED[1], made(aa=GOOD, bb=BAD, ba=GOOD, ab=BAD), (), (CODE, PARAMETERS)).cause == PARAMETERS


def test_a_verdict_that_comes_back_the_other_way_round_is_no_confirmation():
    assert finding(RECORDED[1], made(aa=BAD, bb=GOOD), (), (CODE,)).cause == OUTSIDE
    runs = made(aa=GOOD, bb=BAD, ab=GOOD) | {ONLY_CODE: night(1, {"accuracy": figure(BAD, HALF)}, "inconclusive")}
    assert finding(RECORDED[1], runs, (), (CODE, PARAMETERS)).cause == TOGETHER


def timed(day, speed, verdict):
    return night(day, {"accuracy": figure(GOOD, HALF), "speed_ratio batch_1": figure(speed, HALF)}, verdict)


def test_a_verdict_of_speed_alone_is_not_put_down_to_code_where_speed_was_not_measured_anew():
    [verdict] = moves(timed(1, 3.0, "accept"), timed(2, 2.0, "reject"))
    restored = {BOTH_A: timed(1, 3.0, "accept"), BOTH_B: timed(2, 2.0, "reject")}
    found = finding(verdict, restored, (), (CODE,))
    assert (found.cause, found.why) == (UNDECIDED, NOT_ANEW)
    one_of_them = {BOTH_A: timed(3, 2.9, "accept"), BOTH_B: restored[BOTH_B]}
    assert finding(verdict, one_of_them, (), (CODE,)).cause == UNDECIDED
    anew = {BOTH_A: timed(3, 2.9, "accept"), BOTH_B: timed(3, 2.1, "reject")}
    assert finding(verdict, anew, (), (CODE,)).cause == CODE


def test_a_verdict_over_the_same_clocks_needs_no_new_ones():
    [verdict] = moves(timed(1, 3.0, "accept"), timed(2, 3.0, "reject"))
    assert finding(verdict, {BOTH_A: timed(1, 3.0, "accept"), BOTH_B: timed(2, 3.0, "reject")}, (), (PARAMETERS,)).cause == PARAMETERS


def test_data_that_the_runs_made_again_do_not_bring_back_stay_among_what_is_fixed():
    sides = {"A": night(1, {}, data="d1.dir"), "B": night(2, {}, data="d2.dir")}
    assert data_came_back(sides, {BOTH_A: sides["A"], BOTH_B: sides["B"]})
    assert not data_came_back(sides, {BOTH_A: sides["A"], BOTH_B: sides["A"]}), "both read what lies there today"
    assert not data_came_back(sides, {BOTH_A: sides["A"], BOTH_B: "failed: data"})
    assert not data_came_back(sides, {})


def test_only_what_differs_is_run():
    assert len(cells(code_differs=True, parameters_differ=True)) == 4
    assert cells(code_differs=True, parameters_differ=False) == (BOTH_A, BOTH_B)
    assert cells(code_differs=False, parameters_differ=False) == ()


def test_the_values_that_differ_are_named():
    before, after = {"seed": 0, "prune": {"p": {"ratio": 0.5}}}, {"seed": 0, "prune": {"p": {"ratio": 0.9}, "q": {"ratio": 0.1}}}
    assert list(parameter_differences(before, after)) == ["prune.p.ratio: 0.5 to 0.9", "prune.q: not there to {'ratio': 0.1}"]


def test_a_params_file_is_one_of_the_project(tmp_path):
    (tmp_path / "params").mkdir()
    (tmp_path / "params/table.yaml").touch()
    assert located(tmp_path, "params/../params/table.yaml") == "params/table.yaml"
    assert params_files(tmp_path) == ("params.yaml", "params/table.yaml")
    with pytest.raises(InputError, match=r"no such file in .*there are: params.yaml, params/table.yaml"):
        located(tmp_path, "params/tabel.yaml")
    with pytest.raises(InputError, match="not inside"):
        located(tmp_path, "/etc/passwd")


def test_what_a_clock_said_is_not_put_down_to_anything():
    before = night(1, {"accuracy": figure(GOOD, HALF), "speed_ratio batch_1": figure(9.0, HALF)})
    after = night(2, {"accuracy": figure(BAD, HALF), "speed_ratio batch_1": figure(3.0, HALF)})
    assert [one.name for one in moves(before, after)] == ["accuracy"]
