"""Every member of a workload that gives something else than it promises is found at once, and said in a line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slimline.errors import WorkloadError
from slimline.workloads.digits import Digits
from slimline.workloads.guarded import guarded
from slimline.workloads.promises import picture_breach
from slimline.workloads.trial import trial_problems

SIZES = {"test_fraction": 0.3, "validation_fraction": 0.1, "calibration_samples": 32}
TABLE = Digits().splits(SIZES, 0)["validation"]
NET = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


class Whole(nn.Module):
    """Answers with what it was given."""

    def __init__(self, answer: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.answer, self.layer = answer, nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> object:
        return self.answer(x)


ATTRIBUTES = [
    ("name", "", "is ''"),
    ("name", "../x", "is '../x'"),
    ("name", "a" * 65, "is 'aaaa"),
    ("name", b"digits", "is bytes"),
    ("name", "ä", "is 'ä'"),
    ("name", "a\n", "is 'a\\n'"),
    ("task", "regression", "is 'regression'"),
    ("labels", "0123456789", "is str"),
    ("labels", ("a",), "holds 1 class names"),
    ("labels", (0, 1), "holds 0"),
    ("labels", ("a", "a"), "holds 'a' twice"),
    ("labels", ("a", " "), "holds ' '"),
    ("labels", np.array(["a", "b"]), "is ndarray"),
    ("feature_range", (0.0,), "is (0.0,)"),
    ("feature_range", (1.0, 1.0), "is (1.0, 1.0)"),
    ("feature_range", (float("nan"), 1.0), "holds nan"),
    ("feature_range", (np.float32("inf"), 1.0), "holds "),
    ("feature_range", (False, True), "holds False"),
    ("feature_range", ("0", "1"), "holds '0'"),
    ("loss", 3, "is no function"),
]
MEMBERS: list[tuple[str, Callable[..., object], str]] = [
    ("example_input", lambda: np.ones((2, 1, 8, 8)), "example_input() gave ndarray"),
    ("example_input", lambda: torch.ones(2, 1, 8, 8, dtype=torch.float64), "float64 [2, 1, 8, 8]"),
    ("example_input", lambda: torch.ones(3, 1, 8, 8), "[3, 1, 8, 8] for 2 rows"),
    ("example_input", lambda: torch.ones(2), "[2] for 2 rows"),
    ("example_input", lambda: torch.full((2, 1, 8, 8), float("nan")), "not finite for row 0"),
    ("example_input", lambda: torch.ones(2, 64), "a column may be missing or too many"),
    ("inputs", lambda table: torch.ones(len(table) + 1, 1, 8, 8), "for 8 rows"),
    ("inputs", lambda table: torch.ones(len(table), 1, 8, 8, dtype=torch.complex64), "complex64"),
    ("inputs", lambda table: torch.ones(len(table), 1, 8, 8, dtype=torch.int64), "int64"),
    ("inputs", lambda table: table, "inputs() gave DataFrame"),
    ("build_teacher", lambda: nn.Linear, "gave the class Linear"),
    ("build_teacher", lambda: NET, "gave the same net twice"),
    ("build_teacher", lambda: nn.Flatten(), "a net without parameters"),
    ("build_teacher", lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double(), "float64"),
    ("build_teacher", lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "a lazy layer"),
    ("build_teacher", lambda: nn.Linear(9, 9), "the net of build_teacher() raised RuntimeError"),
    ("build_teacher", lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), "float32 [8, 7] for 8 samples"),
    ("build_teacher", lambda: Whole(lambda x: {"logits": x}), "gave dict for 8 samples"),
    ("augment", lambda inputs, _generator: inputs[:, :, 1:], "augment() gave"),
    ("augment", lambda inputs, _generator: inputs / 0, "not finite"),
    ("augment", lambda _inputs, _generator: None, "augment() gave NoneType"),
    ("loss", lambda _outputs, _targets: 0.5, "loss() gave float"),
    ("loss", lambda outputs, _targets: outputs.mean(1), "one float"),
    ("loss", lambda outputs, _targets: outputs.detach().mean(), "without a gradient"),
    ("loss", lambda outputs, _targets: outputs.mean() * 1j, "complex64"),
    ("metrics", lambda _outputs, _targets: 0.5, "metrics() gave 0.5"),
    ("metrics", lambda _outputs, _targets: {}, "metrics() gave {}"),
    ("metrics", lambda _outputs, _targets: {"f1": 0.5}, "`accuracy` must be among them"),
    ("metrics", lambda _outputs, _targets: {"accuracy": float("nan")}, "gave nan for 'accuracy'"),
    ("metrics", lambda _outputs, _targets: {"accuracy": True}, "gave True for 'accuracy'"),
    ("metrics", lambda _outputs, _targets: {"accuracy": "0.9"}, "gave '0.9'"),
    ("metrics", lambda _outputs, _targets: {1: 0.5}, "a figure named 1"),
    ("show", lambda _row: None, "show() gave NoneType"),
    ("show", lambda _row: "x" * 200_000, "200,000 characters"),
    ("show", lambda _row: "<b>5", "left <b> open"),
    ("show", lambda _row: "</div>", "closes <div>"),
    ("show", lambda _row: "<script>alert(1)</script>", "runs code"),
    ("show", lambda _row: '<img src="x" onerror="alert(1)">', "runs code"),
]


def own(**members: Any) -> Any:
    return type("Own", (Digits,), {name: staticmethod(value) if callable(value) else value for name, value in members.items()})()


@pytest.mark.parametrize(("attribute", "value", "said"), ATTRIBUTES)
def test_an_attribute_that_is_not_what_it_should_be(attribute: str, value: object, said: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        guarded("own", own(**{attribute: value}))
    assert f"workload 'own': {attribute} {said}" in str(caught.value)


@pytest.mark.parametrize(("member", "function", "said"), MEMBERS)
def test_a_member_that_gives_something_else(member: str, function: Callable[..., object], said: str) -> None:
    (problem,) = trial_problems(guarded("own", own(**{member: function})), TABLE)
    assert problem.startswith("workload 'own': ")
    assert said in problem


def test_all_that_is_wrong_is_told_together() -> None:
    nothing = dict.fromkeys(("example_input", "build_teacher", "augment", "loss", "metrics", "show"), lambda *_arguments: None)
    assert len(trial_problems(guarded("own", own(**nothing)), TABLE)) == len(nothing)
    with pytest.raises(WorkloadError) as caught:
        guarded("own", own(**{name: value for name, value, _ in ATTRIBUTES}))
    assert len(str(caught.value).splitlines()) == len({name for name, _, _ in ATTRIBUTES})


def test_numbers_of_numpy_are_made_pythons_own() -> None:
    metrics = lambda _outputs, _targets: {"accuracy": np.float32(0.5), "right": np.int64(3)}  # noqa: E731
    workload = guarded("own", own(metrics=metrics, feature_range=(np.float32(0), np.int64(16))))
    assert trial_problems(workload, TABLE) == ()
    assert [type(limit) for limit in workload.feature_range] == [float, float]
    assert {type(figure) for figure in workload.metrics(np.eye(10), np.arange(10)).values()} == {float}


def test_a_whole_workload_has_no_problem() -> None:
    assert trial_problems(guarded("digits", Digits()), TABLE) == ()


@pytest.mark.parametrize("picture", ["5", "<b>5</b>", "a < b", "<svg><rect x='1'/></svg>", "<table><tr><td>1<td>2</table>", "<br>x"])
def test_a_piece_of_html_that_leaves_the_page_as_it_is(picture: str) -> None:
    assert picture_breach(picture) == ""
