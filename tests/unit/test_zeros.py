"""Zeros bring no speed unless it was measured, and what was measured is told with its interval."""

from typing import Any

import pytest

from slimline.report.plain import zeros
from slimline.verdict.zeros import NOT_SHOWN, speed_of_zeros, zero_share, zeros_remark

BASELINE = {"parameters": 1000, "nonzero": 1000, "macs": 5000, "size_bytes": 4000}
TIMES = "\N{MULTIPLICATION SIGN}"


def facts(**changes: Any) -> dict[str, Any]:
    return {"target": "onnxruntime", "parameters": 1000, "nonzero": 200, "macs": 5000, "size_ratio": 4.0, "baseline": BASELINE} | changes


def timing(one: tuple[float, float], many: tuple[float, float]) -> dict[str, Any]:
    ratios = {name: {"value": sum(ends) / 2, "ci": list(ends)} for name, ends in (("batch_1", one), ("batch_32", many))}
    return {"speed_ratio_same_runtime": ratios}


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({}, 0.8),
        ({"nonzero": 834}, None),
        ({"nonzero": 833}, 0.167),
        ({"macs": 2000, "parameters": 500}, None),
        ({"macs": 2000}, None),
        ({"nonzero": 1000}, None),
    ],
)
def test_only_what_holds_zeros_and_does_no_less_work(changes: dict[str, Any], share: float | None) -> None:
    assert zero_share(facts(**changes), BASELINE) == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("one", "many", "said"),
    [
        ((0.98, 1.02), (0.99, 1.04), "no speed on this machine"),
        ((0.88, 1.22), (0.99, 1.04), NOT_SHOWN),
        ((0.70, 1.60), (0.99, 1.04), NOT_SHOWN),
        ((0.80, 0.90), (0.70, 0.80), "slower on this machine"),
        ((0.80, 0.90), (0.99, 1.04), "no speed on this machine"),
        ((0.98, 1.02), (1.30, 1.40), None),
        ((1.30, 1.40), (0.98, 1.02), None),
    ],
)
def test_the_claim_is_no_stronger_than_the_interval(one: Any, many: Any, said: str | None) -> None:
    assert speed_of_zeros(timing(one, many)["speed_ratio_same_runtime"]) == said


def test_the_remark_holds_the_numbers() -> None:
    remark = zeros_remark(facts(), timing((0.98, 1.02), (0.99, 1.04)))
    assert remark == (
        "Smaller to ship, not faster: 80 % of the weights are zero, which the dense kernels of onnxruntime multiply like any other number; "
        f"no speed on this machine: 1.00{TIMES} (0.98{TIMES} to 1.02{TIMES}) at batch 1 and 1.02{TIMES} (0.99{TIMES} to 1.04{TIMES}) "
        "at batch 32 against the float32 teacher on the same target."
    )
    assert str(zeros_remark(facts(size_ratio=1.0), timing((0.98, 1.02), (0.99, 1.04)))).startswith("Not smaller, nor faster: 80 %")
    wide = zeros_remark(facts(), timing((0.9, 1.5), (0.99, 1.04)))
    assert "not shown to be faster: 80 %" in str(wide)
    assert "do not rule out 1.20" in str(wide)


def test_no_remark_where_it_is_faster_or_holds_no_zeros() -> None:
    assert zeros_remark(facts(), timing((1.8, 1.9), (1.8, 1.9))) is None
    assert zeros_remark(facts(nonzero=1000), timing((0.98, 1.02), (0.99, 1.04))) is None


def test_the_decision_page_names_each_such_variant_once_with_its_targets() -> None:
    still, fast = timing((0.98, 1.02), (0.99, 1.04)), timing((1.8, 1.9), (1.8, 1.9))
    rows = [
        {"variant": "sparse", **facts(target="eager"), **still},
        {"variant": "sparse", **facts(size_ratio=1.0), **still},
        {"variant": "sparse-int8", **facts(), **fast},
        {"variant": "narrow", **facts(macs=1000), **still},
    ]
    (sentence,) = zeros({"baseline": BASELINE, "variants": rows})
    assert sentence == (
        "Smaller to ship, not faster: sparse, 80 % of whose weights are zeros, multiplied all the same; "
        f"times smaller: eager 4.00{TIMES} and onnxruntime 1.00{TIMES}; "
        f"no speed on this machine: eager 1.00{TIMES} [0.98, 1.02{TIMES}] and onnxruntime 1.00{TIMES} [0.98, 1.02{TIMES}] "
        "(batch 1, against the float32 teacher on the same target)."
    )
