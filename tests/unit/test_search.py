"""The recipe search without a stage: legal orders, entries that check accepts, halving, frontier, journal, effects, page."""

import itertools
import json
import math
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slimline.errors import ParamsError
from slimline.params import Params
from slimline.params.search import Halving
from slimline.params.yaml_file import parse_yaml
from slimline.report.search_page import found_yaml, write_search
from slimline.search.chains import Step, knobs, legal_orders, letters, space_size
from slimline.search.effects import order_effects, technique_effects
from slimline.search.entries import entries_of, sections
from slimline.search.figures import Figures, figures_of
from slimline.search.frontier import chosen, frontier, ranked
from slimline.search.halving import promoted
from slimline.search.pace import place_seconds, quickest_first
from slimline.search.record import Tried
from slimline.search.study import Study

PROJECT = Path(__file__).parents[2]
METHODS: dict[str, Any] = {
    "small": {"stage": "distill", "method": "soft_targets", "epochs": 50, "strengths": {"student": [{"channels": [48, 96, 96]}, {}]}},
    "channels": {"stage": "prune", "method": "channels", "recover": {"epochs": 8}, "strengths": {"ratio": [0.25, 0.5, 0.75]}},
    "svd": {"stage": "factorize", "method": "svd", "strengths": {"energy": [0.8, 0.9]}},
    "int8": {"stage": "quantize", "method": "static"},
}
SEARCH: dict[str, Any] = {"methods": METHODS, "longest": 3, "trials": 30}
RAW: dict[str, Any] = {"workload": "digits", "deploy": {"variants": ["teacher"], "targets": ["onnxruntime"]}}


def parsed(**search: Any) -> Params:
    return Params.parse(RAW | {"search": SEARCH | search})


PARAMS = parsed()
assert PARAMS.search is not None
ASKED = PARAMS.search
ORDERS = legal_orders(ASKED, PARAMS.deploy.targets)


def chain(*names: str, **chosen_strengths: Any) -> tuple[Step, ...]:
    """Each method at its first strengths, or those given."""
    steps = []
    for name in names:
        first = next(ASKED.methods[name].every_choice())
        steps.append(Step(name, ASKED.methods[name], {knob: chosen_strengths.get(knob, value) for knob, value in first.items()}))
    return tuple(steps)


def accepted(order: tuple[str, ...]) -> bool:
    """Whether `slimline check` takes the order's chain, deployed."""
    entries = entries_of(chain(*order))
    try:
        Params.parse(RAW | sections(entries) | {"deploy": {"variants": ["teacher", entries[-1].name], "targets": ["onnxruntime"]}})
    except ParamsError:
        return False
    return True


def test_the_legal_orders_are_those_that_check_accepts() -> None:
    every = [order for length in (1, 2, 3) for order in itertools.permutations(METHODS, length)]
    assert set(ORDERS) == {order for order in every if accepted(order)}
    assert {"P", "Q", "D", "PL", "LP", "PLQ", "LPQ", "DPQ"} <= {letters(ASKED, order) for order in ORDERS}
    assert space_size(ASKED, [("channels", "svd"), ("int8",)]) == 3 * 2 + 1


@pytest.mark.parametrize("share", [1.0, 0.2])
def test_a_distillation_behind_another_method_has_that_as_its_student_or_is_not_proposed(share: float) -> None:
    """`source_layers` says who learns where it is first alone; mutual takes no variant as a student, so it is never anywhere else."""
    cut = {"stage": "distill", "method": "soft_targets", "epochs": 10, "source_layers": 3, "strengths": {"source_layers": [2, 3]}}
    found = parsed(
        methods={"p": METHODS["channels"], "cut": cut, "m": {"stage": "distill", "method": "mutual", "student": {"a": 1}}}
    ).search
    assert found is not None
    orders = legal_orders(found, ["onnxruntime"])
    assert {("cut",), ("p", "cut"), ("m",), ("m", "p"), ("m", "cut")} <= set(orders)
    assert not [order for order in orders if "m" in order[1:]]
    assert ["source_layers" in of for of in knobs(found, ("cut", "p"))] == [True, False]
    for order in orders:
        steps = [
            Step(name, found.methods[name], {knob: values[0] for knob, values in of.items()})
            for name, of in zip(order, knobs(found, order), strict=True)
        ]
        entries = entries_of(steps, share)
        Params.parse(RAW | sections(entries) | {"deploy": {"variants": ["teacher", entries[-1].name], "targets": ["onnxruntime"]}})


def test_a_target_that_takes_no_int8_gets_no_chain_that_ends_with_it() -> None:
    assert {letters(ASKED, order) for order in legal_orders(ASKED, ["eager"])}.isdisjoint({"Q", "PQ", "DPQ"})
    assert "Q" not in {letters(ASKED, order) for order in legal_orders(ASKED, ["openvino", "eager"])}


@pytest.mark.parametrize("share", [1.0, 0.2])
def test_every_chain_is_entries_that_params_accept(share: float) -> None:
    for order in ORDERS:
        entries = entries_of(chain(*order), share)
        params = Params.parse(RAW | sections(entries) | {"deploy": {"variants": ["teacher", entries[-1].name], "targets": ["onnxruntime"]}})
        assert params.lineage(entries[-1].name) == (*(entry.name for entry in reversed(entries)), "teacher")


def test_a_common_beginning_is_the_same_variants_and_another_strength_another() -> None:
    longer, shorter = entries_of(chain("channels", "svd", "int8")), entries_of(chain("channels", "svd"))
    assert longer[:2] == shorter
    assert entries_of(chain("channels", "svd", energy=0.9))[1].name != shorter[1].name
    assert entries_of(chain("channels", "svd", ratio=0.5))[1].name != shorter[1].name


def test_the_brief_training_is_shorter_everywhere_and_never_nothing() -> None:
    brief = entries_of(chain("small", "channels"), 0.2)
    assert brief[0].content["epochs"] == 10
    assert brief[1].content["recover"] == {"epochs": 2}
    assert entries_of(chain("svd"), 0.2)[0].content["recover"]["epochs"] == 0, "svd trains nothing by default"


def test_the_brief_training_counts_steps_and_hints_and_trains_nothing_beside() -> None:
    lengths = {"epochs": 2, "steps": 5000}
    guided = {"stage": "distill", "method": "hints", "hint_epochs": 20, "label_shares": [0.1, 0.5], **lengths}
    lottery = {"stage": "prune", "method": "lottery_ticket", "training": {"epochs": 10}, "rewind_epoch": 3}
    offered = parsed(
        methods={"h": guided, "c": {"stage": "prune", "method": "channels", "ratio": 0.5, "recover": lengths}, "l": lottery}
    ).search
    assert offered is not None
    brief = {name: entries_of([Step(name, of, {})], 0.2)[0].content for name, of in offered.methods.items()}
    assert brief["h"] | {"epochs": 1, "steps": 1000, "hint_epochs": 4, "label_shares": [], "controls": []} == brief["h"]
    assert brief["c"]["recover"] == {"epochs": 1, "steps": 1000}
    assert (brief["l"]["training"], brief["l"]["rewind_epoch"], brief["l"]["control_rounds"]) == ({"epochs": 2}, 0, [])


def test_the_frontier_is_what_nothing_beats() -> None:
    found = {"a": Figures(0.0, 2, 2), "b": Figures(0.01, 4, 2), "c": Figures(0.01, 3, 2), "d": Figures(0.0, 2, 2)}
    assert frontier(found) == ("a", "b", "d")
    assert ranked(found, 0.02)[0] == "b", "within the margin size and time alone count"


def test_the_judged_are_within_the_margin_and_hold_its_ends() -> None:
    found = {"exact": Figures(0.0, 1.5, 1.5), "small": Figures(0.01, 9, 1), "quick": Figures(0.01, 2, 8), "wild": Figures(0.3, 99, 99)}
    assert set(chosen(found, 3, 0.02)) == {"exact", "small", "quick"}
    assert chosen({"wild": found["wild"]}, 3, 0.02) == ("wild",), "where none is within, the nearest"


def test_halving_promotes_the_best_share_and_nothing_hopeless() -> None:
    brief = {str(index): Figures(0.01 * index, 2.0, 2.0) for index in range(10)} | {"hopeless": Figures(0.9, 50.0, 50.0)}
    assert promoted(brief, Halving(keep=0.3), 0.02) == {"0", "1", "2", "3"}
    assert promoted({"hopeless": brief["hopeless"]}, Halving(), 0.02) == frozenset()


def test_a_search_that_was_killed_goes_on(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    study = Study(journal, ASKED, ORDERS)
    first = study.propose(4)
    study.note(first[0].number, brief=Figures(0.01, 2, 3), seconds=2.0)
    study.note(first[0].number, seconds=3.0)
    study.tell(first[0].number, Figures(0.01, 2, 3))
    study.note(first[1].number, reason="did not shrink")
    study.tell(first[1].number, None)
    with journal.open("ab") as stream:
        stream.write(b'{"op_code": 4, "tri')  # torn by a kill
    (tmp_path / "journal.log.lock").symlink_to(journal)
    again = Study(journal, ASKED, ORDERS)
    assert [one.number for one in again.unfinished()] == [one.number for one in first[2:]]
    assert again.tried()[0] == replace(first[0], brief=Figures(0.01, 2, 3), seconds=5.0)
    assert again.tried()[1].reason == "did not shrink"


def test_no_chain_is_proposed_twice_and_a_small_space_comes_to_an_end(tmp_path: Path) -> None:
    small = parsed(methods={name: METHODS[name] for name in ("svd", "int8")}).search
    assert small is not None
    orders = legal_orders(small, ["onnxruntime"])
    study = Study(tmp_path / "journal.log", small, orders)
    for one in study.propose(100):
        study.note(one.number, brief=Figures(0.01, 2, 2))
        study.tell(one.number, Figures(0.01, 2, 2))
    names = [one.name for one in study.tried()]
    assert len(names) == len(set(names)) == space_size(small, orders) == 5
    assert study.propose(1) == ()


def planted(count: int = 120) -> list[Tried]:
    """Chains whose drop is 1 point for pruning, 2 more where low rank comes after it, and noise of 0.2 points."""
    draw = random.Random(0)
    tried = []
    for number in range(count):
        order = draw.choice(ORDERS)
        word = letters(ASKED, order)
        drop = 0.01 * ("P" in word) + 0.02 * (("P" in word and "L" in word) and word.index("P") < word.index("L")) + draw.gauss(0, 0.002)
        tried.append(Tried(number, chain(*order), Figures(drop, 4.0 if "Q" in word else 1.0, 2.0)))
    return tried


def test_effects_are_those_that_were_planted() -> None:
    tried = planted()
    (order,) = [effect for effect in order_effects(tried) if effect.what == "P before L" and effect.response == "drop"]
    assert order.low < 0.02 < order.high
    assert order.high - order.low < 0.01
    (size,) = [effect for effect in technique_effects(tried) if effect.what.startswith("Q") and effect.response == "doublings smaller"]
    assert math.isclose(size.value, 2.0, abs_tol=1e-9)
    assert order_effects(tried[:3]) == (), "too few to tell"


def test_a_response_in_which_all_chains_are_equal_has_no_effects() -> None:
    """Methods without an estimated speed have a time_ratio of exactly 1; what is explained wholly has a p and a share all the same."""
    slow = [replace(one, brief=replace(one.brief, drop=0.01 * ("Q" in one.letters), time_ratio=1.0)) for one in planted() if one.brief]
    effects = (*technique_effects(slow), *order_effects(slow))
    assert {effect.response for effect in effects} == {"drop", "doublings smaller"}
    json.dumps([vars(effect) for effect in effects], allow_nan=False)


def test_figures_of_a_variant_that_was_not_made_are_its_reason() -> None:
    made = {"estimated": {"drop": 0.01, "time_ratio": 3.0}, "size_bytes": 50, "baseline": {"size_bytes": 200}}
    assert figures_of(made) == Figures(0.01, 4.0, 3.0)
    assert figures_of({"missed": "prune", "reason": "did not shrink"}) == "did not shrink"


def test_the_page_has_every_chain_and_entries_to_paste(tmp_path: Path) -> None:
    tried = planted(12)
    front = [replace(tried[0], full=Figures(0.004, 8.0, 4.0)), replace(tried[1], full=Figures(0.001, 2.0, 2.0))]
    tried[:2] = front
    row = {"target": "onnxruntime", "drop": {"value": 0.004, "ci": [0.0, 0.01], "unit": "fraction"}, "size_ratio": 7.9, "reasons": ["kept"]}
    rows = [row | {"variant": one.name, "verdict": verdict} for one, verdict in zip(front, ("accept", "reject"), strict=True)]
    facts = {"orders": len(ORDERS), "space": 99, "seconds": 61.0, "judged_before": 0}
    found = write_search(tmp_path, PARAMS, tried, front, {"variants": rows}, facts, project=PROJECT)
    assert found["accepted"] == [front[0].name]
    assert json.loads((tmp_path / "search.json").read_text()) == json.loads(json.dumps(found))
    html, markdown = ((tmp_path / f"search.{ending}").read_text() for ending in ("html", "md"))
    assert html.count("<circle") == 2 * 12
    assert all(re.escape(front[0].name) in text.replace("\\", "") or front[0].name in text for text in (html, markdown))
    pasted = parse_yaml((tmp_path / "found.yaml").read_text(), "found.yaml")
    assert Params.parse(RAW | pasted).lineage(front[0].name)[-1] == "teacher"
    assert "Nothing passed" in found_yaml(front, is_accepted=False)


def test_all_that_is_wrong_is_told_together() -> None:
    wrong = {
        "channels": METHODS["channels"] | {"strengths": {"ratio": [0.5, 1.5], "rato": [1]}},
        "x": {"stage": "prune", "method": "chanels"},
        "svd": METHODS["svd"] | {"source": "teacher"},
    }
    with pytest.raises(ParamsError) as caught:
        parsed(methods=wrong, beside=["none"])
    lines = "\n".join(caught.value.problems)
    for part in ("channels: ratio: Input should be less than 1", "rato: unknown key", "x.method: unknown method", "svd.source", "beside"):
        assert part in lines
    with pytest.raises(ParamsError, match="give minutes, trials, or both"):
        parsed(trials=None)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"strengths": {"source": ["teacher"]}}, "strengths.source: the search sets source; leave it out"),
        ({"recover": 3, "strengths": {"recover.epochs": [1]}}, "strengths.recover.epochs: the entry's 'recover' holds no others"),
        ({"strengths": {"recover": [{"epochs": 1}], "recover.epochs": [1]}}, "strengths.recover: holds another knob"),
    ],
)
def test_a_knob_that_no_chain_could_have_is_told(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamsError, match=re.escape(said)):
        parsed(methods=METHODS | {"channels": {"stage": "prune", "method": "channels"} | entry})


def test_methods_in_another_order_are_the_same_search(tmp_path: Path) -> None:
    study = Study(tmp_path / "journal.log", ASKED, ORDERS)
    for one in study.propose(len(ORDERS) + 2):
        study.note(one.number, brief=Figures(0.01, 2, 2))
        study.tell(one.number, Figures(0.01, 2, 2))
    turned = parsed(methods=dict(reversed(METHODS.items()))).search
    assert turned is not None
    again = Study(tmp_path / "journal.log", turned, legal_orders(turned, PARAMS.deploy.targets))
    assert [one.name for one in again.tried()] == [one.name for one in study.tried()]
    assert len(again.propose(2)) == 2


def test_short_orders_come_first_and_then_those_that_train_quickly(tmp_path: Path) -> None:
    asked = parsed(minutes=5, trials=None).search
    assert asked is not None
    study = Study(tmp_path / "journal.log", asked, ORDERS)
    first = study.propose(4)
    assert {one.order for one in first} == {("small",), ("channels",), ("svd",), ("int8",)}
    spent = {"small": 1.0, "channels": 20.0, "svd": 2.0, "int8": 3.0}
    for one in first:
        study.note(one.number, brief=Figures(0.01, 2, 2), brief_seconds=[spent[one.order[0]]])
        study.tell(one.number, Figures(0.01, 2, 2))
    again = Study(tmp_path / "journal.log", asked, ORDERS)
    left = [one.order for one in again.propose(len(ORDERS) - 4)]
    assert set(left) == set(ORDERS) - {one.order for one in first}, "every order is tried once"
    assert [order[0] for order in left] == sorted((order[0] for order in left), key=lambda name: spent[name])


def test_a_place_that_was_slow_is_slow_in_other_orders_too() -> None:
    slow = replace(Tried(0, chain("channels", "small")), brief_seconds=(5.0, 300.0))
    made = replace(Tried(1, chain("small", "channels")), brief_seconds=(0.0, 4.0))  # the student was there already
    assert place_seconds([slow, made], ASKED.methods) == {
        ("channels", True, False): 5.0,
        ("small", False, False): 300.0,
        ("channels", False, True): 4.0,
    }
    orders = [("svd", "small"), ("channels", "small", "int8"), ("small", "channels", "svd"), ("small", "svd")]
    assert quickest_first(orders, [slow, made], ASKED.methods) == [orders[3], orders[2], orders[0], orders[1]]
    assert quickest_first(orders, [], ASKED.methods) == [orders[0], orders[3], orders[1], orders[2]]
