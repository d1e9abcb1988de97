"""Whatever somebody's workload or net raises is told as theirs, in one line with its place; our own mistakes stay ours."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slimline.errors import DataError, WorkloadError
from slimline.foreign import LONGEST, told
from slimline.report.numbers import milliseconds
from slimline.workloads import get_workload
from slimline.workloads.border import through_their_code
from slimline.workloads.digits import Digits
from slimline.workloads.guarded import guarded

RAISED = {
    "own class": "class Own(Exception): pass\nraise Own('lost')",
    "own class below everything": "class Own(BaseException): pass\nraise Own('lost')",
    "system exit": "raise SystemExit(3)",
    "sys.exit": "import sys; sys.exit('lost')",
    "memory": "raise MemoryError('lost')",
    "stop": "raise StopIteration('lost')",
    "generator": "raise GeneratorExit('lost')",
    "recursion": "def again(): again()\nagain()",
    "unicode": "b'\\xff'.decode()",
    "os": "open('/nowhere/at/all')",
    "no text": "raise ValueError",
    "many lines": "raise ValueError('a\\nb\\n' * 500)",
    "bad text": "class Own(Exception):\n    def __str__(self): raise RuntimeError('no text')\nraise Own",
    "division": "1 / 0",
}
CALLS: dict[str, Callable[[Any], object]] = {
    "splits": lambda workload: workload.splits({"test_fraction": 0.3, "validation_fraction": 0.1, "calibration_samples": 32}, 0),
    "build_teacher": lambda workload: workload.build_teacher(),
    "build_student": lambda workload: workload.build_student({}),
    "inputs": lambda workload: workload.inputs({"a": np.ones(1)}),
    "targets": lambda workload: workload.targets({"a": np.ones(1)}),
    "augment": lambda workload: workload.augment({"x": torch.ones(2, 1, 8, 8)}, torch.Generator()),
    "show": lambda workload: workload.show({"a": 1.0}),
}


def indented(code: str, depth: int) -> str:
    return "\n".join(" " * depth + line for line in code.splitlines())


def own_file(folder: Path, member: str, code: str) -> Any:
    """A workload in a file, which is the digits but for one member."""
    text = (
        f"from slimline.workloads.digits import Digits\n\nclass Own(Digits):\n    def {member}(self, *_arguments):\n{indented(code, 8)}\n"
    )
    (folder / "own.py").write_text(text)
    return functools.partial(get_workload, "own.py:Own", folder)


@pytest.mark.parametrize("how", RAISED)
@pytest.mark.parametrize("member", ["inputs", "splits"])
def test_whatever_a_member_raises_is_told_as_theirs(in_folder: Path, member: str, how: str) -> None:
    workload = own_file(in_folder, member, RAISED[how])()
    with pytest.raises(WorkloadError) as caught:
        CALLS[member](workload)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"workload 'own.py:Own': {member}() raised ")
    assert re.search(r"\(own\.py, line \d+\); mend it there$", line)
    assert len(line) < LONGEST + 120


@pytest.mark.parametrize("member", CALLS)
def test_every_member_is_behind_the_border(in_folder: Path, member: str) -> None:
    workload = own_file(in_folder, member, RAISED["own class below everything"])()
    with pytest.raises(WorkloadError, match=rf"{member}\(\) raised own\.Own: lost|{member}\(\) raised .*Own: lost"):
        CALLS[member](workload)


@pytest.mark.parametrize("how", RAISED)
@pytest.mark.parametrize("place", ["import", "constructor", "property"])
def test_making_a_workload_is_behind_the_border(in_folder: Path, place: str, how: str) -> None:
    if place == "import":
        (in_folder / "own.py").write_text(RAISED[how])
    elif place == "constructor":
        own_file(in_folder, "__init__", RAISED[how])
    else:
        code = indented(RAISED[how], 8)
        text = f"from slimline.workloads.digits import Digits\nclass Own(Digits):\n    @property\n    def objective(self):\n{code}\n"
        (in_folder / "own.py").write_text(text)
    with pytest.raises(WorkloadError, match=r"^workload 'own\.py:Own': (importing it|reading objective) raised .*\(own\.py, line \d+\)"):
        get_workload("own.py:Own", in_folder)


def net_of(folder: Path, code: str) -> tuple[str, torch.nn.Module]:
    """A net of a file whose forward runs the code once it has been told to."""
    net = f"class Net(nn.Linear):\n    broken = False\n    def forward(self, x):\n        if self.broken:\n{indented(code, 12)}\n"
    text = f"from torch import nn\nfrom slimline.workloads.digits import Digits\n{net}        return super().forward(x)\n"
    (folder / "own.py").write_text(f"{text}class Own(Digits):\n    def build_teacher(self): return Net(8, 8)\n")
    model = get_workload("own.py:Own", folder).build_teacher()
    model.broken = True  # type: ignore[assignment]
    return "own.py:Own", model


@pytest.mark.parametrize("how", RAISED)
def test_what_a_forward_raises_is_told_as_theirs_wherever_it_is_called(in_folder: Path, how: str) -> None:
    name, model = net_of(in_folder, RAISED[how])
    with (
        pytest.raises(WorkloadError, match=r"^workload 'own\.py:Own': .* raised .*\(own\.py, line \d+\); mend it there$"),
        through_their_code(name),
    ):
        torch.nn.Sequential(model)(torch.ones(1, 8))


def test_a_generator_of_ours_does_not_hide_where_an_iteration_stopped(in_folder: Path) -> None:
    name, model = net_of(in_folder, RAISED["stop"])
    with (
        pytest.raises(WorkloadError, match=r"Net\.forward raised RuntimeError: generator raised StopIteration \(own\.py, line 7\)"),
        through_their_code(name),
    ):
        tuple(model(torch.ones(1, 8)) for _ in range(1))


def test_a_hook_of_ours_inside_their_net_is_ours(in_folder: Path) -> None:
    name, model = net_of(in_folder, "pass")
    scope: dict[str, Any] = {"__name__": "slimline.calibration.statistics"}
    exec(compile("def hook(*_): raise KeyError('our mistake')", __file__, "exec"), scope)
    model.register_forward_hook(scope["hook"])
    with pytest.raises(KeyError, match="our mistake"), through_their_code(name):
        model(torch.ones(1, 8))


@pytest.mark.parametrize("error", [DataError("ours"), KeyboardInterrupt()])
def test_our_own_errors_and_an_interrupt_pass_as_they_are(error: BaseException) -> None:
    class Own(Digits):
        def inputs(self, _rows: Any) -> torch.Tensor:
            raise error

    with pytest.raises(type(error)):
        guarded("own", Own()).inputs({"a": np.ones(1)})


def test_a_mistake_of_ours_is_not_told_as_theirs() -> None:
    with pytest.raises(TypeError, match="not supported between"), through_their_code("own.py:Own"):
        milliseconds("no number")  # type: ignore[arg-type]


def test_a_syntax_error_names_its_own_line() -> None:
    with pytest.raises(SyntaxError) as caught:
        compile("class X(:", "own.py", "exec")
    assert told(caught.value) == "SyntaxError: invalid syntax"
