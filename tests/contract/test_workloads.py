"""Every workload, the documented one included, keeps the Protocol's promises."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from slimline.data.batch import count
from slimline.data.table import Source, Table, write_table
from slimline.errors import WorkloadError
from slimline.objectives import figures
from slimline.workloads import BUNDLED, SPLITS, get_workload
from slimline.workloads.guarded import Guarded
from slimline.workloads.trial import trial_problems

PROJECT = Path(__file__).parents[2]
FILES = ("cnn11m.py:Cnn11m", "depthwise.py:Depthwise", "sequence.py:Sequence", "transformer.py:Transformer")
BENCHMARKS = tuple(f"benchmarks/workloads/{file}" for file in FILES)
SIZES = {"test_fraction": 0.3, "validation_fraction": 0.15, "calibration_samples": 20}


DOCUMENTED = {"documented": "Wine", "documented objective": "Spot"}


def documented(folder: Path, name: str) -> Guarded:
    """A workload of docs/add-a-workload.md, from a file of its own."""
    text = (PROJECT / "docs/add-a-workload.md").read_text()
    (code,) = [found for found in re.findall(r"```python\n(.*?)```", text, re.S) if f"class {name}:" in found]
    assert len(code.splitlines()) <= 42
    (folder / "own.py").write_text(code)
    return get_workload(f"own.py:{name}", folder)


@pytest.fixture(scope="module", params=[*BUNDLED, *BENCHMARKS, *DOCUMENTED])
def workload(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Guarded:
    if request.param in DOCUMENTED:
        return documented(tmp_path_factory.mktemp("own"), DOCUMENTED[request.param])
    return get_workload(request.param, PROJECT)


@pytest.fixture(scope="module")
def table(workload: Guarded, tmp_path_factory: pytest.TempPathFactory) -> Table:
    path = tmp_path_factory.mktemp("split") / "validation.arrow"
    write_table(path, workload.splits(SIZES, 0)["validation"])
    return Table(path)


def contents(source: Source) -> list[str]:
    """Each sample of a split, as text."""
    rows = source.to_dict("records") if isinstance(source, pd.DataFrame) else list(source)
    return [repr({name: np.asarray(value).tolist() for name, value in row.items()}) for row in rows]


def test_splits_are_whole_disjoint_and_repeatable(workload: Guarded) -> None:
    first, second, other = (workload.splits(SIZES, seed) for seed in (0, 0, 1))
    assert set(first) == set(SPLITS)
    assert all(contents(first[name]) == contents(second[name]) for name in SPLITS)
    assert contents(first["train"]) != contents(other["train"])
    every = [content for name in SPLITS for content in contents(first[name])]
    assert len(set(every)) == len(every)


def test_a_teacher_takes_the_inputs_and_its_objective_judges_it(workload: Guarded, table: Table) -> None:
    rows = table.rows(slice(0, 32))
    samples, objective = workload.samples(rows), workload.objective
    models = [workload.build_teacher(), *([workload.build_student({})] if "build_student" in workload.members else [])]
    for model in models:
        outputs = model.eval()(**samples.inputs)
        assert count(outputs) == len(samples) <= 32
        assert objective.outputs_breach(outputs) == ""
        assert objective.loss(outputs, samples.targets).shape == ()
        assert figures(objective, objective.scores(outputs.detach(), samples.targets)).keys() == objective.metrics.keys()


def test_student_is_smaller_than_teacher(workload: Guarded) -> None:
    if "build_student" not in workload.members:
        pytest.skip("has no student")
    teacher, student = (
        sum(value.numel() for value in model.parameters()) for model in (workload.build_teacher(), workload.build_student({}))
    )
    assert student * 3 < teacher


def test_augmenting_keeps_shape_and_repeats(workload: Guarded, table: Table) -> None:
    inputs = workload.inputs(table.rows(slice(0, 8)))
    first, second = (workload.augment(inputs, torch.Generator().manual_seed(5)) for _ in range(2))
    for name, before in inputs.items():
        assert first[name].shape == before.shape
        assert torch.equal(first[name], second[name])


def test_a_sample_is_shown_as_html(workload: Guarded, table: Table) -> None:
    assert workload.show(table.row(0)).startswith("<")


def test_nothing_in_it_breaks_a_promise(workload: Guarded, table: Table) -> None:
    assert trial_problems(workload, table) == ()


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
        ("didgits", "unknown 'didgits'; known: causal-lm, digits, images, table, tabular, text"),
        ("nope/own.py:Own", "no file 'nope/own.py'"),
        ("own.py:Missing", "own.py has no class 'Missing'"),
        ("own.py:Half", "lacks inputs, objective, splits"),
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
