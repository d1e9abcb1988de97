"""`slimline init` writes a whole params.yaml that `slimline check` takes, or says in one line why not."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from slimline.cli import app
from slimline.errors import InputError
from slimline.params import Params


@pytest.fixture
def project_here(in_folder: Path) -> Path:
    (in_folder / "dvc.yaml").write_text("stages: {}\n")
    for label in ("cat", "dog"):
        (in_folder / "photos" / label).mkdir(parents=True)
        for number in range(20):
            pixels = np.random.default_rng(number + 100 * (label == "dog")).integers(0, 255, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(in_folder / "photos" / label / f"{number}.png")
    rows = "\n".join(f"{n % 7},{'abc'[n % 3]},{n * 1.5}" for n in range(200))
    (in_folder / "other").mkdir()
    (in_folder / "other" / "paper.pdf").write_bytes(b"%PDF")
    (in_folder / "short.txt").write_text("hello")
    (in_folder / "words.csv").write_text("text\n" + "\n".join(f"a fine day at the sea {n}" for n in range(99)))
    (in_folder / "table.csv").write_text(f"size,kind,price\n{rows}\n")
    return in_folder


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["init", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_a_folder_of_pictures(project_here: Path) -> None:
    told = invoke("photos")
    assert "photos: 40 pictures in 2 classes, from 20" in told
    assert "this test split will show a drop of accuracy of" in told
    params = Params.load()
    assert params.workload == "images"
    assert params.gate.familywise
    assert params.gate.max_drop > 0.05, "so small a split shows only large drops"
    assert set(params.variants) == {"channels50", "int8", "channels50-int8", "small"}


def test_a_folder_with_a_table_of_classes(project_here: Path) -> None:
    rows = [f"{path.relative_to(project_here / 'photos')},{path.parent.name}" for path in (project_here / "photos").rglob("*.png")]
    (project_here / "photos" / "list.csv").write_text("\n".join(["file,kind", *rows]))
    assert "photos: 40 pictures in 2 classes, from 20" in invoke("photos", "--target", "kind")
    data = Params.load().data
    assert (data.table, data.image, data.target) == ("list.csv", "file", "kind")


def test_a_table_and_what_it_found_for_a_machine(project_here: Path) -> None:
    found = json.loads(invoke("table.csv", "--target", "price", "--json"))
    assert found["task"] == "regression"
    assert found["categories"] == {"kind": 3}
    params = Params.load()
    assert (params.data.target, params.gate.metric, params.gate.max_relative_drop) == ("price", "mean_absolute_error", 0.03)


@pytest.mark.parametrize("extra", ["when", "school"])
def test_dates_and_long_names_of_categories_are_no_free_text(project_here: Path, extra: str) -> None:
    rows = 200
    schools = ("some college but no degree", "less than a high school diploma", "a degree of four years or more")
    columns = {"when": pd.date_range("2024-01-01", periods=rows).astype(str), "school": [schools[row % 3] for row in range(rows)]}
    frame = pd.DataFrame({"age": range(rows), extra: columns[extra], "left": ["yes" if row % 2 else "no" for row in range(rows)]})
    frame.to_csv("people.csv", index=False)
    if extra == "when":
        with pytest.raises(InputError, match="column 'when' holds dates such as '2024-01-01'; make numbers of them"):
            invoke("people.csv", "--target", "left")
    else:
        assert "200 rows, 1 columns of numbers and 1 of categories" in invoke("people.csv", "--target", "left")


def test_a_net_of_ones_own_has_no_student(project_here: Path) -> None:
    (project_here / "nets.py").touch()
    assert "the variants were not tried: " in invoke("photos", "--model", "nets.py:build"), "this project has no stages to try them with"
    params = Params.load()
    assert params.model.architecture == "nets.py:build"
    assert "small" not in params.variants


def test_what_is_there_is_not_written_over_unasked(project_here: Path) -> None:
    (project_here / "params.yaml").write_text("mine")
    with pytest.raises(InputError, match="is there already; give --force to write over it"):
        invoke("photos")
    assert (project_here / "params.yaml").read_text() == "mine"
    invoke("photos", "--force")
    assert Params.load().workload == "images"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("photos", "--text", "x"), "--text and --drop are for tables; a folder is of pictures"),
        (("photos", "--target", "x"), "--target asks for one .csv or .parquet in it with a column of picture paths; there is none"),
        (("table.csv",), "name the column to be told from the others: --target COLUMN, one of size, kind, price"),
        (("table.csv", "--target", "nope"), "'nope' is no column"),
        (("nowhere.csv", "--target", "x"), "no file nowhere.csv"),
        (("dvc.yaml", "--target", "x"), "give a .csv or .parquet table"),
        (("photos", "--model", "perceptron"), "--model perceptron: takes a table, and photos is of pictures; take residual"),
        (("table.csv", "--target", "price", "--model", "residual"), "takes pictures, and table.csv is of a table; take perceptron"),
        (("photos", "--model", "resnet50"), r"--model resnet50: is none of ours \(default, residual, perceptron, convolutional\)"),
        (("photos", "--model", "nowhere.py:Net"), "--model nowhere.py:Net: no file 'nowhere.py'"),
        (("photos", "--model", "hf:nowhere"), "hf:nowhere: no folder 'nowhere'"),
        (("other",), r"other: holds no pictures \(.*\), nor is it mostly texts \(.txt, .*\); a table is named by its file"),
        (("words.csv",), "has no column beside the texts 'text' to be told from them; texts alone are a folder"),
        (("short.txt",), "short.txt: holds 5 bytes of text; a language model needs 20,000 or more"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(project_here: Path, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        invoke(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    assert not (project_here / "params.yaml").exists()
    assert list(project_here.glob(".params*")) == []
