"""`slimline predict`: labels and probabilities from arrays and tables, and one clear line for what is wrong with them."""

import json
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from slimline.artifact.folder import write_json
from slimline.artifact.manifest import Architecture, Manifest
from slimline.artifact.signature import InputSignature, Signature
from slimline.artifact.variant import save_variant
from slimline.commands.predict import _shown, predict
from slimline.commands.sample_files import samples
from slimline.commands.sample_tables import inputs_of_table
from slimline.data.table import write_table
from slimline.errors import DataError, InputError, WorkloadError
from slimline.objectives.described import described
from slimline.workloads import get_workload
from tests.serving.small_releases import COLOURS, pictures

WORKLOAD = get_workload("tabular")
STUDENT = Architecture(role="student", config={"widths": [8]})


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return WORKLOAD.splits({"test_fraction": 0.2, "validation_fraction": 0.2, "calibration_samples": 60}, 0)["test"].head(12)


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    identity = {"variant": "small", "stage": "distill", "method": "scratch", "config": {}, "source": None, "lineage": ("small",), "seed": 0}
    signature = Signature(inputs=(InputSignature(name="input", dtype="float32", shape=(30,)),))
    facts = {"signature": signature, "objective": described(WORKLOAD.objective)}
    manifest = Manifest(workload="tabular", architecture=STUDENT, structure={}, **facts, **identity)
    folder = tmp_path_factory.mktemp("model") / "small"
    model: nn.Module = WORKLOAD.build_student(dict(STUDENT.config))
    save_variant(folder, model.eval(), manifest, WORKLOAD)
    return str(folder)


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_tables_and_arrays_give_the_same_answers(
    variant: str, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.to_parquet(tmp_path / "t.parquet", index=False)
    table.drop(columns="label").to_csv(tmp_path / "t.csv", index=False)
    (values,) = WORKLOAD.inputs({name: np.array(table[name]) for name in table}).values()
    np.save(tmp_path / "t.npy", values.numpy())
    np.savez(tmp_path / "t.npz", input=values.numpy())
    answers = []
    write_table(tmp_path / "t.arrow", table)
    for name in ("t.parquet", "t.arrow", "t.csv", "t.npy", "t.npz"):
        predict(variant, tmp_path / name, as_json=True)
        answers.append(rows(capsys))
    assert len(answers[0]) == len(table)
    assert all(row["answer"] in WORKLOAD.objective.labels and 0.5 <= float(str(row["confidence"])) <= 1 for row in answers[0])
    for other in answers[1:]:
        assert [row["answer"] for row in other] == [row["answer"] for row in answers[0]]
        assert np.allclose([row["confidence"] for row in other], [row["confidence"] for row in answers[0]], atol=1e-4)
    predict(variant, tmp_path / "t.npy")
    first = capsys.readouterr().out.splitlines()[0].split("\t")
    assert first == ["0", answers[3][0]["answer"], f"{answers[3][0]['confidence']:.4f}"]


def write(table: pd.DataFrame, tmp_path: Path) -> Path:
    table.to_parquet(tmp_path / "bad.parquet", index=False)
    return tmp_path / "bad.parquet"


def test_a_missing_value_is_named_by_column_and_row(variant: str, table: pd.DataFrame, tmp_path: Path) -> None:
    bad = table.copy()
    bad.loc[bad.index[4], "mean area"] = np.nan
    with pytest.raises(DataError, match="column 'mean area' has no value in row 4"):
        predict(variant, write(bad, tmp_path))


def test_text_in_a_column_is_named(variant: str, table: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'mean area' does not hold numbers"):
        predict(variant, write(table.assign(**{"mean area": "large"}), tmp_path))


def test_a_missing_column_is_an_error(variant: str, table: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"29\]; the model takes float32 \[N, 30\]"):
        predict(variant, write(table.drop(columns="mean area"), tmp_path))


def test_arrays_of_the_wrong_kind_are_refused(variant: str, tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((2, 31), np.float32))
    with pytest.raises(InputError, match=r"input 'input' has shape \[2, 31\]; the model takes float32 \[N, 30\]"):
        predict(variant, tmp_path / "wide.npy")
    values = np.zeros((3, 30), np.float32)
    values[1, 2] = np.inf
    np.save(tmp_path / "infinite.npy", values)
    with pytest.raises(DataError, match="sample 1 holds NaN or infinity"):
        predict(variant, tmp_path / "infinite.npy")
    (tmp_path / "torn.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match="is no array of numbers"):
        predict(variant, tmp_path / "torn.npy")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="is no array of numbers"):
        predict(variant, tmp_path / "objects.npy")


def test_archives_of_the_wrong_kind_are_refused(variant: str, tmp_path: Path) -> None:
    path, values = tmp_path / "t.npz", np.zeros((4, 30), np.float32)
    np.savez(path, other=values)
    with pytest.raises(InputError, match=r"the model takes input: float32 \[N, 30\]; given: other"):
        predict(variant, path)
    np.savez(path, input=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="is no array of numbers"):
        predict(variant, path)
    np.savez(path, input=values)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is no array of numbers"):
        predict(variant, path)
    path.write_bytes(whole.replace(b"(4, 30), }      ", b"(9999999, 30), }"))
    with pytest.raises(InputError, match="is no array of numbers"):
        predict(variant, path)
    np.save(tmp_path / "t.npy", values)
    np.savez_compressed(path, input=values)
    predict(variant, path)


def test_complex_numbers_and_empty_tables_are_refused(variant: str, table: pd.DataFrame, tmp_path: Path) -> None:
    np.save(tmp_path / "complex.npy", np.ones((2, 30), complex))
    with pytest.raises(InputError, match="holds complex numbers"):
        predict(variant, tmp_path / "complex.npy")
    table.iloc[:0].to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(DataError, match="holds no row"):
        predict(variant, tmp_path / "none.csv")


def test_answers_of_a_folder_say_which_file_they_are_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release, photos = str(pictures(tmp_path / "release")), tmp_path / "photos"
    for number, colour in enumerate(COLOURS):
        (photos / colour).mkdir(parents=True)
        Image.new("RGB", (20, 16), colour).save(photos / colour / f"{number}.png")
    predict(release, photos, as_json=True)
    found = rows(capsys)
    assert {Path(str(row["file"])).parent.name for row in found} == set(COLOURS)
    assert [row["answer"] for row in found] == [Path(str(row["file"])).parent.name for row in found]
    predict(release, photos)
    assert all(line.split("\t")[3].startswith(str(photos)) for line in capsys.readouterr().out.splitlines())
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        predict(release, photos / ("x" * 5000))
    predict(release, photos / COLOURS[0] / "0.png", as_json=True)
    assert "file" not in rows(capsys)[0]


def test_files_that_are_not_there_or_not_known(variant: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        predict(variant, tmp_path / "none.npy")
    with pytest.raises(InputError, match=r"give one of \.npz, \.npy, \.arrow, \.parquet, \.csv"):
        predict(variant, Path(__file__))
    with pytest.raises(InputError, match="no such file"):
        predict(variant, tmp_path / "none.pkl")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="is no readable parquet table"):
        predict(variant, tmp_path / "torn.parquet")


def test_a_table_of_a_workload_that_is_not_bundled_needs_the_callers_word_an_array_does_not(
    variant: str, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text("from slimline.workloads.tabular import Tabular as Mine\n")
    folder = tmp_path / "v"
    shutil.copytree(variant, folder)
    facts = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", facts | {"workload": "elsewhere.py:Mine"})
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(WorkloadError, match=r"'elsewhere\.py:Mine': .* name your own: --workload"):
        predict(str(folder), tmp_path / "t.csv")
    predict(variant, tmp_path / "t.csv")
    expected = capsys.readouterr().out
    predict(str(folder), tmp_path / "t.csv", workload=f"{tmp_path}/mine.py:Mine")
    assert capsys.readouterr().out == expected


def test_many_rows_are_read_in_pieces_and_answered_in_order(
    variant: str, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = pd.concat([table] * 700, ignore_index=True)
    many.to_parquet(tmp_path / "t.parquet", index=False)
    predict(variant, tmp_path / "t.parquet", as_json=True)
    found = rows(capsys)
    assert [row["row"] for row in found] == list(range(len(many)))
    assert [row["answer"] for row in found[-12:]] == [row["answer"] for row in found[:12]]
    many.loc[8000, "mean area"] = np.nan
    many.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="column 'mean area' has no value in row 8000"):
        predict(variant, tmp_path / "t.csv")
    assert capsys.readouterr().out == "", "all or nothing"


class Told:
    """A workload that notes the rows which it is given."""

    allows_missing = True

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def inputs(self, rows: dict[str, Any]) -> dict[str, torch.Tensor]:
        self.given = dict(rows)
        return {"x": torch.zeros(len(rows["amount"]), 1)}


@pytest.mark.parametrize("ending", [".arrow", ".parquet", ".csv"])
def test_typed_columns_with_gaps_come_as_a_workload_takes_them(ending: str, tmp_path: Path) -> None:
    mixed = pd.DataFrame({"amount": [1.5, np.nan], "town": ["Ulm", None], "label": [0, 1]})
    if ending == ".csv":
        mixed.to_csv(tmp_path / "t.csv", index=False)
    else:
        mixed = mixed.assign(series=[np.array([1.0, 2.0]), np.array([3.0, 4.0])])
        write_table(tmp_path / "t.arrow", mixed) if ending == ".arrow" else mixed.to_parquet(tmp_path / "t.parquet", index=False)
    told, signature = Told(), Signature(inputs=(InputSignature(name="x", dtype="float32", shape=(1,)),))
    assert [len(piece["x"]) for piece in samples(tmp_path / f"t{ending}", signature, lambda: cast("Any", told))] == [2]
    assert told.given["town"] == ["Ulm", None]
    assert np.array_equal(told.given["amount"], [1.5, np.nan], equal_nan=True)
    assert ending == ".csv" or np.array_equal(told.given["series"], [[1, 2], [3, 4]])
    assert "label" not in told.given
    with pytest.raises(DataError, match="column 'amount' has no value in row 1"):
        list(inputs_of_table(tmp_path / f"t{ending}", WORKLOAD, lambda _path, _rows: None))


def test_a_damaged_arrow_file_is_refused(variant: str, table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    write_table(path, table)
    whole = path.read_bytes()
    for torn in (b"", whole[:9], whole[: len(whole) // 2]):
        path.write_bytes(torn)
        with pytest.raises(InputError, match="is no readable arrow table"):
            predict(variant, path)


def test_a_file_that_claims_more_than_it_holds_is_refused(variant: str, tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.zeros((4, 30), np.float32))
    whole = (tmp_path / "t.npy").read_bytes()
    for claim in (b"(5, 30)", b"(99999999999, 30)"):
        (tmp_path / "t.npy").write_bytes(whole.replace(b"(4, 30), }" + b" " * (len(claim) - 7), claim + b", }"))
        with pytest.raises(InputError, match="is no array of numbers"):
            predict(variant, tmp_path / "t.npy")


@pytest.mark.parametrize("label", ["two\nlines", "a\ttab", "\x1b[2J"])
def test_a_label_cannot_move_the_cursor(label: str) -> None:
    assert _shown(label) == repr(label)
    assert _shown("größer") == "größer"
