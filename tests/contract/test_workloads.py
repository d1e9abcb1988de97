"""Every workload, the documented one included, keeps the Protocol's promises."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from slimline.errors import WorkloadError
from slimline.workloads import BUNDLED, SPLITS, Workload, get_workload

PROJECT = Path(__file__).parents[2]
FILES = ("cnn11m.py:Cnn11m", "depthwise.py:Depthwise", "sequence.py:Sequence", "transformer.py:Transformer")
BENCHMARKS = tuple(f"benchmarks/workloads/{file}" for file in FILES)
SIZES = {"test_fraction": 0.3, "validation_fraction": 0.15, "calibration_samples": 20}


@pytest.fixture(scope="module", params=[*BUNDLED, *BENCHMARKS, "documented"])
def workload(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workload:
    if request.param != "documented":
        return get_workload(request.param, PROJECT)
    folder = tmp_path_factory.mktemp("own")
    text = (PROJECT / "docs/add-a-workload.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(code.splitlines()) <= 40
    (folder / "wine.py").write_text(code)
    return get_workload("wine.py:Wine", folder)


def test_splits_are_whole_disjoint_and_repeatable(workload: Workload) -> None:
    first, second = workload.splits(SIZES, 0), workload.splits(SIZES, 0)
    assert set(first) == set(SPLITS)
    assert all(first[name].equals(second[name]) for name in SPLITS)
    assert not first["train"].equals(workload.splits(SIZES, 1)["train"])
    assert len(first["calibration"]) == SIZES["calibration_samples"]
    assert {label for table in first.values() for label in table["label"]} == set(range(len(workload.labels)))


def test_models_take_the_inputs_and_give_logits(workload: Workload) -> None:
    table = workload.splits(SIZES, 0)["validation"].head(32)
    inputs = workload.inputs(table)
    assert inputs.dtype == torch.float32
    assert inputs.shape[1:] == workload.example_input().shape[1:]
    for model in (workload.build_teacher(), workload.build_student({})):
        outputs = model.eval()(inputs)
        assert outputs.shape == (len(table), len(workload.labels))
        targets = torch.tensor(table["label"].to_numpy())
        assert workload.loss(outputs, targets).shape == ()
        assert 0 <= workload.metrics(outputs.detach().numpy(), targets.numpy())["accuracy"] <= 1


def test_student_is_smaller_than_teacher(workload: Workload) -> None:
    teacher, student = (
        sum(value.numel() for value in model.parameters()) for model in (workload.build_teacher(), workload.build_student({}))
    )
    assert student * 3 < teacher


def test_augmenting_keeps_shape_and_repeats(workload: Workload) -> None:
    inputs = workload.inputs(workload.splits(SIZES, 0)["train"])[:8]
    first, second = (workload.augment(inputs, torch.Generator().manual_seed(5)) for _ in range(2))
    assert first.shape == inputs.shape
    assert torch.equal(first, second)


def test_a_perfect_answer_scores_one(workload: Workload) -> None:
    targets = np.arange(len(workload.labels))
    assert set(workload.metrics(np.eye(len(targets)), targets).values()) == {1.0}


def test_a_sample_is_shown_as_html(workload: Workload) -> None:
    row = workload.splits(SIZES, 0)["test"].iloc[0].to_dict()
    assert workload.show(row).startswith("<")


@pytest.mark.parametrize("student", [{"widhts": [8]}, {"widths": "x", "channels": 3}, {"widths": [8, 0]}, {"channels": [8, 8]}])
@pytest.mark.parametrize("name", ["digits", "tabular"])
def test_a_wrong_student_is_refused(name: str, student: dict[str, object]) -> None:
    with pytest.raises(WorkloadError, match=r"unknown key|give a list|give three"):
        get_workload(name).build_student(student)


@pytest.mark.parametrize(("name", "students"), list(zip(BENCHMARKS, ([8, 8], [8], [0], [16, 32]), strict=True)))
def test_a_wrong_student_of_a_benchmark_is_refused(name: str, students: list[int]) -> None:
    with pytest.raises(WorkloadError, match=r"unknown key|give"):
        get_workload(name, PROJECT).build_student({"channels" if "cnn11m" in name or "depthwise" in name else "widths": students})


def test_the_benchmark_teachers_are_as_large_as_they_say() -> None:
    sizes = [sum(value.numel() for value in get_workload(name, PROJECT).build_teacher().parameters()) for name in BENCHMARKS]
    assert [round(size / 1e5) / 10 for size in sizes] == [11.1, 0.6, 0.8, 0.8]


def test_digits_teacher_is_large_enough() -> None:
    assert sum(value.numel() for value in get_workload("digits").build_teacher().parameters()) >= 250_000


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("didgits", "unknown 'didgits'; known: digits, tabular"),
        ("nope/own.py:Own", "no file 'nope/own.py'"),
        ("own.py:Missing", "own.py has no class 'Missing'"),
        ("own.py:Half", "lacks augment, build_student"),
        ("own.py:not a name", "is no class name"),
        ("broken.py:X", "importing it raised SyntaxError"),
        ("raises.py:X", "importing it raised NameError: name 'undefined' is not defined (raises.py, line 2)"),
    ],
)
def test_wrong_names_say_what_is_allowed(in_folder: Path, name: str, said: str) -> None:
    (in_folder / "own.py").write_text("class Half:\n    name = 'half'\n    def build_teacher(self): ...\n")
    (in_folder / "broken.py").write_text("class X(:\n")
    (in_folder / "raises.py").write_text("import os\nundefined\n")
    with pytest.raises(WorkloadError, match=re.escape(said)):
        get_workload(name)
