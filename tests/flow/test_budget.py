"""`--budget`: what is begun, what is skipped and said, and what is brought out all the same."""

import time
from pathlib import Path

import pytest

from flows.budget import budget, seconds_of, to_the_end, why_not
from flows.dag import Dag, Node
from flows.durations import keep_durations
from slimline.errors import InputError
from slimline.params.files import USUAL
from tests.flow.running import Project

pytestmark = pytest.mark.slow

KNOWN = {"teacher": 100.0, "prune@a": 50.0, "compile@a": 10.0, "compile@b": 30.0, "report": 5.0}


def node(name: str, *needs: str, depth: int, clean: bool = False, gathers: bool = False) -> Node:
    return Node(name, needs, (), clean=clean, depth=depth, alone=False, gathers=gathers)


NODES = {
    one.name: one
    for one in (
        node("teacher", depth=4),
        node("prune@a", "teacher", depth=3),
        node("prune@b", "teacher", depth=3),
        node("compile@a", "prune@a", depth=2),
        node("compile@b", "prune@b", depth=2, clean=True),
        node("report", "compile@a", "compile@b", depth=0, gathers=True),
    )
}
DAG = Dag(NODES, None, Path("cache"), frozenset())


@pytest.mark.parametrize(("text", "seconds"), [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), (" 1h ", 3600)])
def test_a_span_of_time(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0h", "2", "h", "-1h", "1.5h", "2 hours", "30m1h", "9" * 50 + "h"])
def test_no_span_of_time(text: str) -> None:
    with pytest.raises(InputError, match=r"--budget .*: no span of time; write it as 2h, 90m or 1h30m"):
        seconds_of(text)


def test_what_a_stage_leads_to_counts_and_unknown_ones_are_like_their_kind() -> None:
    assert to_the_end(NODES, KNOWN) == {"teacher": 100 + 50 + 10 + 5, "prune@a": 50 + 10 + 5, "prune@b": 50 + 30 + 5, "compile@a": 10 + 5}


def test_the_reason_says_what_is_needed_and_what_is_left() -> None:
    with budget("1m", time.monotonic(), DAG, KNOWN):
        assert why_not("compile@a") is None
        assert why_not("report") is None
        told = why_not("prune@a")
    assert told is not None
    assert told.startswith("skipped: the budget of 1m: it and what follows take about 65 s, and ")
    assert why_not("prune@a") is None


def test_one_that_is_used_up_begins_nothing_even_where_nothing_is_known() -> None:
    with budget("1s", time.monotonic() - 2, DAG, {}):
        assert "it is used up" in str(why_not("teacher"))


def test_a_run_skips_what_would_take_too_long_and_says_so(tmp_path, api):
    project = Project(tmp_path, api)
    keep_durations(project.root, USUAL, {"teacher": 1.0, "prune@p50": 7000.0, "quantize@q8": 1.0, "report": 1.0})
    code, outcome, shown = project.run("--no-publish", "--budget", " 1h ")
    assert code == 1
    assert outcome["stages"]["quantize@q8"] == "Completed"
    assert "prune@p50" in outcome["failures"]
    assert "skipped: the budget of 1h: it and what follows take about 7001 s" in shown
    assert set(project.executions()) == {"teacher", "q8"}
    code, outcome, shown = project.run("--no-publish", "--budget", "3h")
    assert code == 0, shown
    assert outcome["stages"]["teacher"] == "Cached"


def test_a_wrong_span_is_one_line_and_starts_nothing(tmp_path, api):
    project = Project(tmp_path, api)
    code, outcome, shown = project.run("--budget", "soon")
    assert (code, outcome) == (2, None)
    assert shown.strip().splitlines() == ["error: --budget soon: no span of time; write it as 2h, 90m or 1h30m"]
    assert project.executions() == {}
