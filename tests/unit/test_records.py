"""A table as people have it: kinds of columns, holes and categories, and what cannot be learned from in one line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slimline.commands.init_text import free_text
from slimline.commands.raw_files import raw_samples
from slimline.data.preprocessing import Category, Columns, Number, preprocessing_of
from slimline.data.table import Table, write_table
from slimline.errors import DataError
from slimline.params import DataParams
from slimline.workloads.records import find_table
from slimline.workloads.table import SPLITS, TableDoor, cut_rows

ROWS = 400


def customers() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    age = draw.normal(40, 10, ROWS)
    town = np.array(["Bonn", "Köln", "Trier"])[draw.integers(0, 3, ROWS)]
    price = 100 + 3 * age + 50 * (town == "Köln") + draw.normal(0, 5, ROWS)
    frame = pd.DataFrame({"age": age, "town": town, "member": draw.random(ROWS) < 0.5, "visits": draw.integers(0, 9, ROWS), "price": price})
    frame["left"] = np.where(price > 220, "stays", "goes")
    frame.loc[3, "age"] = np.nan
    frame.loc[5, "town"] = None
    return frame


def options(path: Path, target: str, **more: object) -> DataParams:
    return DataParams.model_validate({"path": str(path), "target": target, "calibration_samples": 40, **more})


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_becomes_typed_columns_and_their_preprocessing(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"customers.{ending}"
    frame = customers()
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path, index=False)
    door = TableDoor(options(path, "price", drop=["left"]))
    counts = {split: write_table(tmp_path / f"{split}.arrow", rows) for split, rows in door.splits(0).items()}
    assert sum(counts.values()) == ROWS
    facts = door.facts(Table(tmp_path / "train.arrow"))
    assert facts.objective["name"] == "regression"
    assert facts.found["missing"] == {"age": 1, "town": 1}
    preprocessing = facts.preprocessing
    assert isinstance(preprocessing, Columns)
    assert [column.name for column in preprocessing.numbers] == ["age", "visits"]
    assert {column.name: column.levels for column in preprocessing.categories} == {
        "town": ("Bonn", "Köln", "Trier"),
        "member": ("False", "True"),
    }
    assert preprocessing_of(facts.model_dump(mode="json")["preprocessing"]) == preprocessing
    inputs = preprocessing(Table(tmp_path / "train.arrow").rows(slice(0, 200)))
    assert inputs["numbers"].dtype == np.float32
    assert np.allclose(inputs["numbers"].mean(0), 0, atol=0.2)
    assert inputs["categories"].dtype == np.int64
    assert inputs["categories"].max() <= 3


def test_a_target_of_few_values_is_classes(tmp_path: Path) -> None:
    customers().to_csv(tmp_path / "c.csv", index=False)
    by_text, by_number = (find_table(tmp_path / "c.csv", name, (), None) for name in ("left", "visits"))
    assert by_text.labels == ("goes", "stays")
    assert by_number.labels == tuple("012345678")
    assert find_table(tmp_path / "c.csv", "visits", (), "regression").task == "regression"


def test_rows_that_are_equal_stand_in_one_split(tmp_path: Path) -> None:
    frame = customers().head(60)
    pd.concat([frame, frame, frame]).to_csv(tmp_path / "c.csv", index=False)
    found = find_table(tmp_path / "c.csv", "price", (), None)
    where = cut_rows(found, options(tmp_path / "c.csv", "price"), 0)
    assert (where[:60] == where[60:120]).all()
    assert (where[:60] == where[120:]).all()
    assert set(where) == set(range(len(SPLITS)))


def test_unseen_and_missing_values_have_a_place() -> None:
    columns = Columns(numbers=(Number(name="a", fill=2, mean=1, scale=2),), categories=(Category(name="b", levels=("x", "y")),))
    found = columns({"a": [None, 5.0, float("nan")], "b": ["y", None, "new"]})
    assert found["numbers"].flatten().tolist() == [0.5, 2.0, 0.5]
    assert found["categories"].flatten().tolist() == [2, 0, 0]


@pytest.mark.parametrize(
    ("how", "target", "said"),
    [
        ("as it is", "nope", r"data.target: 'nope' is no column of .*; it has: age, town, member, visits, price, left"),
        ("constant", "left", r"column 'left' of .* is always 'same'; there is nothing to learn"),
        ("distinct", "left", r"column 'left' of .* holds 400 different values in 400 rows, too many to be classes"),
        ("rare", "left", r"column 'left' of .* has the class 'once' in 1 rows; each class needs at least 4"),
        ("holes", "left", r"column 'left' of .* is missing in 7 of 400 rows"),
        ("mixed", "left", r"column 'age' mixes 399 numbers with texts such as 'old'"),
        ("dates", "left", r"column 'age' holds dates such as '2024-01-01'; make numbers of them"),
        ("names", "left", r"column 'town' holds 400 different texts in 400 rows, so it names rows and is no category"),
        ("long", "left", r"column 'town' holds a text of 10,000,000 characters"),
        ("bytes", "left", r"is no readable csv table: .*; save it as UTF-8"),
        ("no rows", "left", r"is no readable csv table: No columns to parse from file; its first line names the columns"),
        ("words", "left", r"column 'town' holds texts such as 'a town by the river 0'; learn from one such column alone: --text town"),
        ("money", "left", r"column 'price' holds numbers that are written as texts, such as '\$1,000.50'; write them plainly"),
        ("percent", "price", r"data.target: column 'price' of .* holds numbers that are written as texts, such as '0.5 %'"),
        ("blank", "left", r"data.target: 'left' is no column of .*; it has: age, town, member, visits, price, 'left '"),
        ("twice", "left", r"has several columns 'age'; names are unique; rename or drop one"),
        ("wide", "left", r"its rows hold more values than its first line names columns"),
        ("infinite", "left", r"column 'price' is infinite in 3 of 400 rows; write a number there, or nothing, or leave it out"),
        ("infinite", "price", r"data.target: column 'price' of .* is infinite in 3 of 400 rows; mend or remove these rows"),
        ("empty", "left", r"column 'age' is empty; leave it out: data.drop: \[age\], or slimline init --drop age"),
    ],
)
def test_what_cannot_be_learned_from_is_one_line(tmp_path: Path, how: str, target: str, said: str) -> None:
    path, frame = tmp_path / "c.csv", customers()
    changes = {
        "constant": {"left": "same"},
        "distinct": {"left": [f"id{row}" for row in range(ROWS)]},
        "rare": {"left": ["once", *frame["left"][1:]]},
        "holes": {"left": [None] * 7 + frame["left"][7:].tolist()},
        "mixed": {"age": ["old", *frame["age"][1:]]},
        "dates": {"age": pd.date_range("2024-01-01", periods=ROWS).astype(str)},
        "names": {"town": [f"town {row}" for row in range(ROWS)]},
        "long": {"town": ["x" * 10_000_000, *frame["town"][1:]]},
        "infinite": {"price": [np.inf, -np.inf, np.inf, *frame["price"][3:]]},
        "empty": {"age": np.nan},
        "words": {"town": [f"a town by the river {row}" for row in range(ROWS)]},
        "money": {"price": [f"${1000 + row:,}.50" for row in range(ROWS)]},
        "percent": {"price": [f"{row}.5 %" for row in range(ROWS)]},
    }
    frame = frame.assign(**changes.get(how, {}))
    if how == "mixed":
        frame["age"] = frame["age"].fillna(1.0)
    frame.to_csv(path, index=False)
    if how == "bytes":
        path.write_bytes(path.read_bytes().replace("Köln".encode(), "Köln".encode("latin-1")))
    elif how == "no rows":
        path.write_text("")
    elif how == "twice":
        path.write_text(path.read_text().replace("price", "age", 1))
    elif how == "blank":
        path.write_text(path.read_text().replace("left", "left ", 1))
    elif how == "wide":
        path.write_text(path.read_text().replace("\n", ",1\n").replace(",1\n", "\n", 1))
    with pytest.raises(DataError, match=said) as caught:
        find_table(path, target, (), None)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("target", ["left", "parts"])
def test_cells_of_several_values_are_said(tmp_path: Path, target: str) -> None:
    path = tmp_path / "c.parquet"
    customers().assign(parts=[[1, 2], [3]] * (ROWS // 2)).to_parquet(path)
    with pytest.raises(DataError, match=r"column 'parts'.* holds several values in a cell, such as '\[1 2\]'"):
        find_table(path, target, (), None)
    assert free_text(path, target, ()) is None


def test_pandas_own_missing_values_are_missing_ones(tmp_path: Path) -> None:
    frame = customers().assign(member=pd.array([None, True, False, True] * (ROWS // 4), dtype="boolean"))
    frame["visits"] = pd.array([None, 3, *frame["visits"][2:].astype(int)], dtype="Int64")
    frame.to_parquet(tmp_path / "c.parquet")
    door = TableDoor(options(tmp_path / "c.parquet", "left"))
    for split, rows in door.splits(0).items():
        write_table(tmp_path / f"{split}.arrow", rows)
    facts = door.facts(Table(tmp_path / "train.arrow"))
    assert facts.found["missing"]["member"] == ROWS // 4
    assert isinstance(facts.preprocessing, Columns)
    categories = {one.name: (place, one.levels) for place, one in enumerate(facts.preprocessing.categories)}
    place, levels = categories["member"]
    assert levels == ("False", "True")
    raw, _ = next(iter(raw_samples(tmp_path / "c.parquet", facts.preprocessing)))
    assert raw["categories"][:4, place].tolist() == [0, 2, 1, 2]


def test_rows_that_are_few_different_ones_are_said(tmp_path: Path) -> None:
    pd.DataFrame({"x": [n % 5 for n in range(300)], "z": [n % 2 for n in range(300)]}).to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(DataError, match="300 rows are 5 different ones: equal ones stand in one split"):
        cut_rows(find_table(tmp_path / "c.csv", "z", (), None), options(tmp_path / "c.csv", "z"), 0)
