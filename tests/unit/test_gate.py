"""The gate: verdicts from intervals, never better for a worse variant, with reasons that hold the numbers."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimline.errors import ParamsError
from slimline.params import GateParams, Params
from slimline.verdict.gate import findings, judge, margin_of
from slimline.verdict.place import place
from slimline.verdict.words import MINUS

GATE = GateParams(max_drop=0.01, min_size_ratio=1.5, min_speed_ratio=1.0)
ORDER = ("reject", "inconclusive", "accept")
GATE_KWH, GATE_RELATIVE = (
    GateParams(metric="mean_absolute_error", max_drop=1.0),
    GateParams(metric="mean_absolute_error", max_relative_drop=0.02),
)
DROP = {"metric": "accuracy", "p_value": 0.7, "test": "mcnemar", "unit": "fraction", "better": "higher", "relative": None}


def quality(drop: tuple[float, float] = (-0.004, 0.006), size_ratio: float = 4.0, **changes: Any) -> dict[str, Any]:
    facts = {
        "variant": "int8",
        "target": "onnxruntime",
        "samples": 719,
        "drop": {**DROP, "value": sum(drop) / 2, "ci": list(drop)},
        "detectable_drop": 0.012,
        "flips": {"lost": 3, "gained": 2},
        "size_bytes": 1000,
        "size_ratio": size_ratio,
        "parameters": 900,
        "nonzero": 900,
        "macs": 5000,
        "baseline": {"size_bytes": round(1000 * size_ratio), "parameters": 900, "nonzero": 900, "macs": 5000},
    }
    return facts | changes


def in_kwh(drop: tuple[float, float], relative: tuple[float, float] | None = None, before: float = 80.0) -> dict[str, Any]:
    """A forecast off by `before` kWh at the teacher's, and by so much more at the variant's."""
    low, high = relative or (drop[0] / before, drop[1] / before)
    more = {"relative": {"value": (low + high) / 2, "ci": [low, high]}, "test": "bootstrap", "unit": "kWh", "better": "lower"}
    drops = {**DROP, "metric": "mean_absolute_error", "value": sum(drop) / 2, "ci": list(drop), **more}
    baseline = quality()["baseline"] | {"quality": {"mean_absolute_error": {"value": before, "ci": [before - 2, before + 2]}}}
    return {**quality(baseline=baseline, detectable_drop=1.2, flips=None), "drop": drops}


def ratio(low: float, high: float) -> dict[str, Any]:
    value = (low + high) / 2
    return {"value": value, "ci": [low, high], "wall": {"value": value, "ci": [low * 0.9, high * 1.1]}}


def timing(
    eager: tuple[float, float] = (3.0, 3.2),
    same: tuple[float, float] = (1.8, 1.9),
    floor: float = 0.03,
    batch: tuple[float, float] = (2.0, 2.1),
) -> dict[str, Any]:
    return {
        "speed_ratio": {"batch_1": ratio(*eager), "batch_32": ratio(*eager)},
        "speed_ratio_same_runtime": {"batch_1": ratio(*same), "batch_32": ratio(*batch)},
        "noise_floor": {batch: {"value": floor, "ratio": 1.0, "ci": [1 - floor, 1 + floor]} for batch in ("batch_1", "batch_32")},
    }


@pytest.mark.parametrize(
    ("facts", "times", "verdict", "words"),
    [
        (quality(), timing(), "accept", "Quality kept: accuracy drops by 0.10 pp"),
        (quality(drop=(0.012, 0.03)), timing(), "reject", "beyond the 1.00 pp allowed"),
        (quality(drop=(0.002, 0.014)), timing(), "inconclusive", "would show only a drop of 1.20 pp or more"),
        (quality(size_ratio=1.2), timing(), "reject", "Not small enough"),
        (quality(), timing(eager=(0.6, 0.7)), "reject", "Not fast enough"),
        (quality(), timing(eager=(0.98, 1.05)), "inconclusive", "cannot be told from"),
        (quality(), timing(eager=(0.99, 1.05), floor=0.06), "inconclusive", "6.0 % from one launch to the next"),
        (quality(), timing(eager=(1.01, 1.05), floor=0.06), "accept", "the whole interval clears it"),
        (quality(drop=(0.002, 0.014), size_ratio=1.0), timing(), "reject", "Not small enough"),
    ],
)
def test_verdicts(facts: dict[str, Any], times: dict[str, Any], verdict: str, words: str) -> None:
    found = judge(facts, times, GATE)
    assert found.verdict == verdict
    assert words in " ".join(found.reasons)
    assert all(reason.endswith(".") for reason in found.reasons)


@pytest.mark.parametrize(
    ("drop", "verdict", "words"),
    [
        (
            (-0.4, 0.8),
            "accept",
            f"Quality kept: mean_absolute_error rises by 0.2 kWh ({MINUS}0.4 kWh to 0.8 kWh, bootstrap p = 0.7); "
            "the whole interval is within the 1 kWh allowed.",
        ),
        (
            (-0.9, 0.5),
            "accept",
            f"Quality kept: mean_absolute_error falls by 0.2 kWh (worse by {MINUS}0.9 kWh to 0.5 kWh, bootstrap p = 0.7); "
            "the whole interval is within the 1 kWh allowed.",
        ),
        (
            (1.5, 2.5),
            "reject",
            "Quality lost: mean_absolute_error rises by 2 kWh (1.5 kWh to 2.5 kWh, bootstrap p = 0.7); "
            "the whole interval lies beyond the 1 kWh allowed.",
        ),
        (
            (0.5, 1.5),
            "inconclusive",
            "the interval reaches across the 1 kWh allowed. These 719 test samples would show only a drop of 1.2 kWh",
        ),
    ],
)
def test_a_drop_of_what_should_be_low_is_a_rise_in_its_unit(drop: tuple[float, float], verdict: str, words: str) -> None:
    found = judge(in_kwh(drop), timing(), GATE_KWH)
    assert found.verdict == verdict
    assert words in " ".join(found.reasons)


@pytest.mark.parametrize(
    ("relative", "verdict", "words"),
    [
        ((-0.01, 0.02), "accept", "the whole interval is within the 2.00 % of it allowed."),
        ((0.021, 0.04), "reject", "the whole interval lies beyond the 2.00 % of it allowed."),
        ((0.01, 0.03), "inconclusive", "the interval reaches across the 2.00 % of it allowed."),
    ],
)
def test_a_relative_margin_is_held_against_the_relative_interval(relative: tuple[float, float], verdict: str, words: str) -> None:
    """Whatever the absolute interval says: 0.5 to 1.5 kWh lies across a margin of 1 kWh in all three."""
    found = judge(in_kwh((0.5, 1.5), relative), timing(), GATE_RELATIVE)
    assert found.verdict == verdict
    assert words in " ".join(found.reasons)


def test_what_samples_would_show_is_held_against_the_relative_margin_in_the_metrics_unit() -> None:
    """2 % of 50 kWh are 1 kWh, less than the 1.2 kWh that would show; 2 % of 80 kWh are 1.6 kWh."""
    advice = "These 719 test samples would show only a drop of 1.2 kWh or more (power 80 %)"
    little, much = (" ".join(judge(in_kwh((0.5, 1.9), (0.01, 0.03), before), timing(), GATE_RELATIVE).reasons) for before in (50.0, 80.0))
    assert advice in little
    assert advice not in much
    assert margin_of(GATE_RELATIVE, in_kwh((0.5, 1.9), before=80.0)).absolute == pytest.approx(1.6)


def test_there_is_no_share_of_a_teacher_at_zero() -> None:
    facts = in_kwh((0.5, 1.5))
    facts["drop"]["relative"] = None
    with pytest.raises(ParamsError, match=r"gate\.max_relative_drop: the teacher's mean_absolute_error is 0, .*give max_drop"):
        judge(facts, timing(), GATE_RELATIVE)
    assert judge(facts, timing(), GATE_KWH).verdict == "inconclusive"


def test_two_margins_for_one_drop_are_refused() -> None:
    with pytest.raises(ValueError, match="max_drop and max_relative_drop are two margins for the same drop: give one of them"):
        GateParams(max_drop=0.01, max_relative_drop=0.02)
    raw = {"workload": "digits", "deploy": {"variants": ["teacher"], "targets": ["eager"]}}
    with pytest.raises(ParamsError, match=r"gate: .*give one of them"):
        Params.parse(raw | {"gate": {"max_drop": 0.01, "max_relative_drop": 0.02}})
    assert Params.parse(raw | {"gate": {"max_relative_drop": 0.02}}).gate.max_relative_drop == 0.02


def test_what_decided_comes_first() -> None:
    found = judge(quality(drop=(0.002, 0.014), size_ratio=1.0), timing(), GATE)
    assert [reason.split(":")[0] for reason in found.reasons[:3]] == ["Not small enough", "Quality undecided", "Speed"]


def test_no_speed_asked_is_no_speed_judged() -> None:
    gate = GATE.model_copy(update={"min_speed_ratio": 0.0})
    assert judge(quality(), timing(eager=(0.3, 0.4)), gate).verdict == "accept"


@pytest.mark.parametrize(
    ("facts", "times", "words"),
    [
        (quality(nonzero=180, size_ratio=1.01), timing(), "Smaller on paper, same bytes: 900 non-zeros became 180"),
        (quality(), timing(same=(0.97, 1.02)), "not faster than the float32 teacher on onnxruntime"),
        (quality(), timing(same=(0.5, 0.6)), "slower than the float32 teacher on onnxruntime itself"),
        (quality(macs=1000), timing(same=(0.97, 1.02)), "MACs fell 5.00\N{MULTIPLICATION SIGN} but time at batch 1 did not"),
        (quality(macs=1000), timing(same=(0.97, 1.02)), "the fixed cost of a call outweighs the work at batch 1"),
        (quality(macs=1000), timing(same=(0.97, 1.02), batch=(0.9, 1.0)), "too thin to fill the vector units"),
        (quality(nonzero=180), timing(same=(0.97, 1.02), batch=(0.99, 1.01)), "Smaller to ship, not faster: 80 % of the weights are zero"),
        (quality(nonzero=180, size_ratio=1.0), timing(same=(0.97, 1.02), batch=(0.99, 1.01)), "Not smaller, nor faster: 80 %"),
        (quality(nonzero=180, size_ratio=1.0, target="eager"), timing(), "pack: sparse in params.yaml stores fewer"),
    ],
)
def test_gains_that_are_none_are_named(facts: dict[str, Any], times: dict[str, Any], words: str) -> None:
    assert words in " ".join(judge(facts, times, GATE).reasons)


def test_a_plain_gain_gets_no_such_remark() -> None:
    reasons = judge(quality(), timing(), GATE).reasons
    assert len(reasons) == 4
    assert "lost 3" in reasons[-1]


def test_clocks_that_disagree_are_told() -> None:
    times = timing()
    times["speed_ratio"]["batch_1"]["wall"] = {"value": 9.0, "ci": [8.0, 10.0]}
    assert any("wall time 9.00" in reason for reason in judge(quality(), times, GATE).reasons)


shares = st.floats(-0.05, 0.05)
ratios = st.floats(0.2, 8.0)


@given(shares, st.floats(0, 0.05), ratios, st.floats(0, 1.0), ratios, st.floats(0, 0.3), st.floats(0.0, 0.03))
@settings(max_examples=200, deadline=None)
def test_a_worse_variant_is_never_judged_better(
    low: float, width: float, speed: float, spread: float, size_ratio: float, floor: float, worse: float
) -> None:
    facts, times = quality((low, low + width), size_ratio), timing((speed, speed + spread), floor=floor)
    before = ORDER.index(judge(facts, times, GATE).verdict)
    worse_facts = copy.deepcopy(facts)
    worse_facts["drop"]["ci"] = [low + worse, low + width + worse]
    worse_times = timing((speed * (1 - worse), (speed + spread) * (1 - worse)), floor=floor)
    assert ORDER.index(judge(worse_facts, worse_times, GATE).verdict) <= before
    assert {finding.outcome for finding in findings(facts, times, GATE)} <= {"pass", "fail", "unclear"}


@given(ratios, st.floats(0, 1.0), ratios, st.floats(0, 0.5))
@settings(max_examples=100, deadline=None)
def test_a_wider_interval_never_decides_more(low: float, width: float, threshold: float, more: float) -> None:
    wide = (low - more, low + width + more)
    if place(wide, threshold) != "unclear":
        assert place((low, low + width), threshold) == place(wide, threshold)
