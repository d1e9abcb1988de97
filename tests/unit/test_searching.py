"""One call of the recipe search on a machine that is played: what it lacks room for, and what test has judged before."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from prefect.states import Completed, Failed

from flows import searching
from flows.results import Outcome
from flows.schedule import failure_of
from flows.search import key_of
from flows.searched import Searched
from flows.searching import Search
from flows.stages import CommandFailedError
from flows.trials import Made
from slimline.errors import OF_MACHINE, SlimlineError
from slimline.params import Params
from slimline.search.entries import Entry
from slimline.search.figures import Figures, PutOff

PROJECT = Path(__file__).parents[2]
RAW: dict[str, Any] = {
    "workload": "digits",
    "deploy": {"variants": ["teacher"], "targets": ["onnxruntime"]},
    "gate": {"max_drop": 0.02},
    "search": {
        "methods": {
            "channels": {"stage": "prune", "method": "channels", "recover": {"epochs": 10}, "strengths": {"ratio": [0.25, 0.5]}},
            "int8": {"stage": "quantize", "method": "static"},
        },
        "longest": 1,
        "trials": 3,
        "halving": {"keep": 0.99},
    },
}


class Machine:
    """In place of the clone: of each batch every chain is made, but for those that it has no room for, or whose method says no."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.raw, self.jobs = folder, RAW, 1
        self.no_room, self.refused = set[str](), set[str]()
        self.figures = Figures(0.001, 2.0, 2.0)
        self.asked: list[list[str]] = []
        self.gates: list[Mapping[str, Any]] = []

    def made(self, chains: Mapping[int, Sequence[Entry]]) -> Made:
        self.asked.append([kind_of(entries) for entries in chains.values()])
        return Made({str(number): self._came_of(entries) for number, entries in chains.items()}, {})

    def write(self, entries: Sequence[Entry], deployed: Sequence[str] = (), **more: Any) -> Params:
        self.gates.append(more["gate"])
        content = {**RAW, **more, "deploy": {"variants": list(deployed), "targets": ["onnxruntime"]}}
        for entry in entries:
            content[entry.stage] = content.get(entry.stage, {}) | {entry.name: dict(entry.content)}
        return Params.parse(content)

    def _came_of(self, entries: Sequence[Entry]) -> Figures | PutOff | str:
        if kind_of(entries) in self.no_room:
            return PutOff("disk full while writing data")
        return "training diverged" if kind_of(entries) in self.refused else self.figures


def kind_of(entries: Sequence[Entry]) -> str:
    """A chain by its method and the epochs that it trains."""
    content = entries[-1].content
    return f"{content['method']} {content.get('ratio', '')} {content.get('recover', {}).get('epochs', 0)}"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Everything is accepted on test."""
    monkeypatch.setattr(searching, "run_to", lambda *given: Outcome(tmp_path, 0.0, summary=summary(given[2])))
    monkeypatch.setattr(searching, "keep_reports", lambda *_: None)
    return Machine(tmp_path)


def summary(params: Params) -> dict[str, Any]:
    drop = {"value": 0.001, "ci": [0.0, 0.01], "unit": "fraction"}
    row = {"target": "onnxruntime", "drop": drop, "size_ratio": 2.0, "verdict": "accept", "reasons": ["kept"]}
    return {"variants": [row | {"variant": name} for name in params.deploy.variants]}


def called(machine: Machine, **asked: Any) -> Searched:
    """One call; each begins with nothing in mind but the journal."""
    machine.asked.clear()
    params = Params.parse(machine.raw | {"search": RAW["search"] | asked})
    assert params.search is not None
    return Search(PROJECT, params, params.search, machine, machine.folder / "search", 0.02).run()  # type: ignore[arg-type]


def page_of(found: Searched) -> str:
    """search.md in one line."""
    return " ".join((found.folder / "search.md").read_text(encoding="utf-8").split())


def tries(machine: Machine) -> list[str]:
    """What the last call tried, in alphabetical order."""
    return sorted(kind for batch in machine.asked for kind in batch)


def test_what_the_machine_failed_at_is_tried_again_in_the_next_call_and_not_before(machine: Machine) -> None:
    machine.no_room, machine.refused = {"channels 0.25 2", "channels 0.5 10"}, {"static  0"}
    with pytest.raises(SlimlineError, match=r"disk full .*; call it again with more room for those that the machine failed at$"):
        called(machine)
    assert tries(machine) == ["channels 0.25 2", "channels 0.5 10", "channels 0.5 2", "static  0"], "each once"
    machine.no_room = {"channels 0.5 10"}
    first = called(machine)
    assert tries(machine) == ["channels 0.25 10", "channels 0.25 2", "channels 0.5 10"], "nothing that is made, or that failed by itself"
    assert first.found["fates"] == {"judged on test": 1, "could not be made": 1, "put off: the machine failed": 1}
    assert "put off: disk full while writing data" in page_of(first)
    assert "the next call tries them again" in page_of(first)
    machine.no_room = set()
    second = called(machine)
    assert tries(machine) == ["channels 0.5 10"]
    assert [(chain["put_off"], chain["reason"]) for chain in second.found["chains"] if chain["full"]] == [(None, None)] * 2
    assert "the next call tries" not in page_of(second)


def test_used_up_time_keeps_nothing_from_being_tried_again_and_begins_nothing_new(machine: Machine) -> None:
    machine.no_room = {"channels 0.25 2", "channels 0.5 2"}
    assert called(machine, trials=2).found["fates"]["put off: the machine failed"] == 1
    machine.no_room = set()
    put_off = called(machine, minutes=1e-9, trials=3).found
    assert put_off["counts"] | {"tried": 2, "full": 2} == put_off["counts"], "the chain that was put off, and no third one"
    called(machine, minutes=1e-9, trials=3)
    assert tries(machine) == []


@pytest.mark.parametrize(("code", "is_machines"), [(OF_MACHINE, True), (-9, True), (137, True), (None, True), (1, False), (2, False)])
def test_a_stage_that_was_killed_or_says_so_failed_by_the_machine(code: int | None, is_machines: bool) -> None:
    failure = failure_of(Failed(data=CommandFailedError("prune@a", code, ("error: prune.a: said so",))))
    assert failure is not None
    assert (failure.reason, failure.is_machines) == ("prune.a: said so", is_machines)
    assert failure_of(Completed()) is None


def test_what_earlier_calls_judged_on_test_stays_counted(machine: Machine) -> None:
    asked = {"trials": 1, "frontier": 1}
    assert called(machine, **asked).found["judged_before"] == 0
    again = called(machine, **asked)
    assert again.found["judged_before"] == 0, "the same frontier again is no other"
    assert machine.gates == [{"max_drop": 0.02, "familywise": True}] * 2
    assert "no earlier call is to be corrected for" in page_of(again)
    machine.figures = Figures(0.0, 9.0, 9.0)
    later = called(machine, trials=3, frontier=1)
    assert later.found["judged_before"] == 1, "the teacher is judged in every call"
    assert machine.gates[-1] == {"max_drop": 0.02, "familywise": True, "judged_before": 1}
    assert "that test had judged before: 1. They stay counted" in page_of(later)


def test_what_the_gate_names_is_counted_too(machine: Machine) -> None:
    machine.raw = RAW | {"gate": {"max_drop": 0.02, "judged_before": 7}}
    found = called(machine).found
    assert (found["judged_before"], machine.gates[-1]["judged_before"]) == (7, 7)


def test_what_was_judged_before_makes_no_other_search(in_folder: Path) -> None:
    (in_folder / "dvc.lock").write_text("stages: {data: {outs: []}, teacher: {outs: []}}")
    gates = ({"max_drop": 0.02}, {"max_drop": 0.02, "judged_before": 3}, {"max_drop": 0.03})
    keys = [key_of(in_folder, Params.parse(RAW | {"gate": gate})) for gate in gates]
    assert keys[0] == keys[1] != keys[2]
