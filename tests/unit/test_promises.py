"""Every member of a workload that gives something else than it promises is found at once, and said in a line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slimline.data.table import Table, write_table
from slimline.errors import WorkloadError
from slimline.objectives import Metric
from slimline.objectives.classification import Classification, classification
from slimline.workloads.digits import Digits
from slimline.workloads.guarded import guarded
from slimline.workloads.promises import picture_breach
from slimline.workloads.trial import trial_problems

SIZES = {"test_fraction": 0.3, "validation_fraction": 0.1, "calibration_samples": 32}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    path = tmp_path_factory.mktemp("digits") / "validation.arrow"
    write_table(path, Digits().splits(SIZES, 0)["validation"])
    return Table(path)


NET = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


class Whole(nn.Module):
    """Answers with what it was given."""

    def __init__(self, answer: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.answer, self.layer = answer, nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> object:
        return self.answer(x)


class Pointless(Classification):
    """Judges by nothing."""

    def __init__(self) -> None:
        super().__init__(("a", "b"))
        object.__setattr__(self, "metrics", {})


ATTRIBUTES = [
    ("name", "", "is ''"),
    ("name", "../x", "is '../x'"),
    ("name", "a" * 65, "is 'aaaa"),
    ("name", b"digits", "is bytes"),
    ("name", "ä", "is 'ä'"),
    ("name", "a\n", "is 'a\\n'"),
    ("objective", Classification, "is the class Classification; give an instance of it"),
    ("objective", "classification", "is str, which lacks name, metrics"),
    ("objective", Pointless(), "has {} as metrics"),
    ("inputs", 3, "is no function"),
    ("augment", 3, "is no function"),
]
MEMBERS: list[tuple[str, Callable[..., object], str]] = [
    ("inputs", lambda _rows: torch.ones(9, 1, 8, 8), "for 8 rows"),
    ("inputs", lambda _rows: torch.ones(8, 1, 8, 8, dtype=torch.complex64), "complex64"),
    ("inputs", lambda _rows: torch.full((8, 1, 8, 8), float("nan")), "not finite for row 0"),
    ("inputs", lambda rows: rows["pixels"], "inputs() gave ndarray"),
    ("inputs", lambda _rows: {}, "inputs() gave no tensor"),
    ("inputs", lambda _rows: {"x": None}, "inputs() gave NoneType for 'x'"),
    ("inputs", lambda _rows: {"y": torch.ones(8, 1, 8, 8)}, "takes x, and the data give y: name a parameter of forward y"),
    ("targets", lambda _rows: torch.zeros(7, dtype=torch.long), "targets() gave Tensor of int64 [7] for 8 rows"),
    ("targets", lambda _rows: torch.full((8,), 11), "row 0 has the class 11; there are 10 labels"),
    ("outputs", lambda result: result[:, 0], "the net of build_teacher() gives [8] for 8 samples; 10 labels take logits [N, 10]"),
    ("outputs", lambda result: result[:3], "gave Tensor of float32 [3, 10] for 8 samples"),
    ("build_teacher", lambda: nn.Linear, "gave the class Linear"),
    ("build_teacher", lambda: NET, "gave the same net twice"),
    ("build_teacher", lambda: nn.Flatten(), "a net without parameters"),
    ("build_teacher", lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double(), "float64"),
    ("build_teacher", lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "a lazy layer"),
    ("build_teacher", lambda: nn.Linear(4, 10, device="meta"), "on the device meta, without values; build it on the CPU"),
    ("build_teacher", lambda: nn.Linear(4, 10).double(), "torch.float64; every parameter must be float32: return net.float()"),
    ("build_teacher", lambda: torch.compile(nn.Linear(4, 10)), "under torch.compile; return the net itself"),
    ("build_teacher", lambda: nn.Sequential(torch.jit.script(nn.Linear(4, 10))), "a TorchScript module"),
    ("build_teacher", lambda: torch.jit.trace(nn.Linear(4, 10), torch.zeros(1, 4)), "a TorchScript module"),
    ("build_teacher", lambda: torch.export.export(nn.Linear(4, 10), (torch.zeros(1, 4),)).module(), "a torch.export program"),
    ("build_teacher", lambda: nn.Linear(9, 9), "the net of build_teacher() raised RuntimeError"),
    ("build_teacher", lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), "gives [8, 7] for 8 samples; 10 labels"),
    ("build_teacher", lambda: Whole(lambda x: {"one": x, "two": x}), "gives 2 tensors (['one', 'two']), none called 'logits'"),
    ("augment", lambda inputs, _generator: inputs[:, :, 1:], "augment() gave"),
    ("augment", lambda inputs, _generator: inputs / 0, "not finite"),
    ("augment", lambda _inputs, _generator: None, "augment() gave NoneType"),
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
def test_a_member_that_gives_something_else(table: Table, member: str, function: Callable[..., object], said: str) -> None:
    problem, *_ = trial_problems(guarded("own", own(**{member: function})), table)
    assert problem.startswith("workload 'own': ")
    assert said in problem


OBJECTIVE: list[tuple[str, Callable[..., object], str]] = [
    ("loss", lambda _outputs, _targets: 0.5, "objective.loss() gave float"),
    ("loss", lambda outputs, _targets: outputs.mean(1), "one float"),
    ("loss", lambda outputs, _targets: outputs.detach().mean(), "without a gradient"),
    ("loss", lambda outputs, _targets: outputs.mean() * 1j, "complex64"),
    ("guidance", lambda outputs, _teacher, _temperature: outputs.mean(1), "objective.guidance() gave"),
    ("scores", lambda _outputs, _targets: 0.5, "objective.scores() gave float"),
    ("scores", lambda _outputs, _targets: {"right": np.ones(8)}, "the column 'error' must be there"),
    ("scores", lambda _outputs, _targets: {"error": np.ones(7)}, "every column is an array [8, …]"),
    ("metrics", {"odd": Metric(lambda _scores: float("nan"))}, "metrics['odd'] gave nan; it must be a finite number"),
    ("metrics", {"odd": Metric(lambda _scores: 1 / 0)}, "metrics['odd'] raised ZeroDivisionError"),
    ("shown", lambda _answer: 1 / 0, "objective.shown raised ZeroDivisionError"),
]


@pytest.mark.parametrize(("member", "value", "said"), OBJECTIVE)
def test_an_objective_that_gives_something_else(table: Table, member: str, value: object, said: str) -> None:
    objective = classification("0123456789")
    object.__setattr__(objective, member, value)
    (problem,) = trial_problems(guarded("own", own(objective=objective)), table)
    assert problem.startswith("workload 'own': ")
    assert said in problem


def test_all_that_is_wrong_is_told_together(table: Table) -> None:
    nothing = dict.fromkeys(("inputs", "targets", "build_teacher", "show"), lambda *_arguments: None)
    assert len(trial_problems(guarded("own", own(**nothing)), table)) == len(nothing)
    with pytest.raises(WorkloadError) as caught:
        guarded("own", own(**{name: value for name, value, _ in ATTRIBUTES}))
    assert len(str(caught.value).splitlines()) == len({name for name, _, _ in ATTRIBUTES})


@pytest.mark.parametrize("member", ["labels", "loss", "metrics", "example_input", "feature_range"])
def test_a_workload_of_the_first_contract_is_told_what_to_change(member: str) -> None:
    with pytest.raises(WorkloadError, match=r"written for the first contract: .* docs/add-a-workload.md") as caught:
        guarded("own", own(objective=None, **{member: ("a", "b")}))
    assert len(str(caught.value).splitlines()) == 1


def test_a_whole_workload_has_no_problem(table: Table) -> None:
    assert trial_problems(guarded("digits", Digits()), table) == ()


@pytest.mark.parametrize("picture", ["5", "<b>5</b>", "a < b", "<svg><rect x='1'/></svg>", "<table><tr><td>1<td>2</table>", "<br>x"])
def test_a_piece_of_html_that_leaves_the_page_as_it_is(picture: str) -> None:
    assert picture_breach(picture) == ""
