"""Samples on disk: typed columns, byte for byte alike, any rows in any order, memory that does not grow with the file."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from slimline.artifact.folder import sha256_of
from slimline.data.profile import column_profile, sample_profile
from slimline.data.table import GROUP, Table, read_numbered, write_numbered, write_table
from slimline.errors import DataError


def picture(number: int, side: int = 24) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def mixed(rows: int) -> Iterator[dict[str, Any]]:
    for row in range(rows):
        yield {
            "image": {"bytes": picture(row), "path": None},
            "words": "word " * (row % 5),
            "ids": np.arange(row % 7 + 1),
            "volume": np.full((2, 3, 4), row, dtype="float32"),
            "x": np.float32(row) / 2,
            "label": row % 3,
        }


def test_any_rows_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    assert write_table(tmp_path / "a.arrow", mixed(1100)) == 1100
    table = Table(tmp_path / "a.arrow")
    rows = table.rows([1099, 0, GROUP, GROUP - 1, 3])
    assert rows["label"].tolist() == [1, 0, GROUP % 3, (GROUP - 1) % 3, 0]
    assert rows["x"].dtype == np.float32
    assert rows["volume"].shape == (5, 2, 3, 4)
    assert rows["volume"][:, 0, 0, 0].tolist() == [1099, 0, GROUP, GROUP - 1, 3]
    assert [len(ids) for ids in rows["ids"]] == [1099 % 7 + 1, 1, GROUP % 7 + 1, (GROUP - 1) % 7 + 1, 4]
    assert rows["words"][4] == "word word word "
    assert np.array_equal(np.asarray(rows["image"][0]), np.asarray(Image.open(io.BytesIO(picture(1099)))))


def test_a_picture_is_opened_when_it_is_asked_for(tmp_path: Path) -> None:
    broken = [{"image": {"bytes": content, "path": None}, "label": 1} for content in (picture(0), b"no picture", None)]
    write_table(tmp_path / "a.arrow", broken)
    rows = Table(tmp_path / "a.arrow").rows(slice(0, 3))
    assert rows["label"].tolist() == [1, 1, 1]
    assert [one.size for one in rows["image"][:1]] == [(24, 24)]
    assert column_profile(Table(tmp_path / "a.arrow"), "train").set_index("column").loc["image", ["missing", "first"]].tolist() == [1, 2]
    for place, said in ((1, "a picture of 10 bytes cannot be read"), (2, "a picture is missing")):
        with pytest.raises(DataError, match=said):
            rows["image"][place]


def test_equal_samples_give_equal_bytes_and_other_libraries_read_them(tmp_path: Path) -> None:
    for name in "ab":
        write_table(tmp_path / f"{name}.arrow", mixed(30))
    assert sha256_of(tmp_path / "a.arrow") == sha256_of(tmp_path / "b.arrow")
    read = datasets.Dataset.from_file(str(tmp_path / "a.arrow"))
    assert read[5]["image"].size == (24, 24)
    assert read[5]["ids"] == [0, 1, 2, 3, 4, 5]
    write_table(tmp_path / "c.arrow", read)
    assert Table(tmp_path / "c.arrow").rows([5])["words"] == [""]


def test_a_data_frame_keeps_its_types(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(700, dtype="int32"), "b": np.linspace(0, 1, 700, dtype="float32"), "c": list(np.eye(700, 8))})
    write_table(tmp_path / "a.arrow", frame)
    rows = Table(tmp_path / "a.arrow").rows(slice(0, 700))
    assert [rows[name].dtype.name for name in "abc"] == ["int32", "float32", "float64"]
    assert np.array_equal(rows["c"], np.eye(700, 8))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"a": 1}, {"a": "x"}], r"column 'a' cannot be stored"),
        ([{"a": 1j}], r"column 'a' cannot be stored"),
        ([{"a": {"b": 1}}], r"column 'a' holds struct<b: int64>; a column holds numbers, text, arrays of numbers or pictures"),
        ([{"a": 1}] * GROUP + [{"b": 1}], r"a row has the columns \['b'\], those before \['a'\]"),
        ([{"a": 1}] * GROUP + [{"a": 1.5}], r"changes its type from one row to another"),
    ],
)
def test_what_cannot_be_stored_is_one_line(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        write_table(tmp_path / "a.arrow", rows)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("body", [b"", b"ARROW1", b"\xff" * 100])
def test_a_damaged_file_is_one_line(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "a.arrow").write_bytes(body)
    with pytest.raises(DataError, match=r"a.arrow: is no readable Arrow stream: .*; prepare it again"):
        Table(tmp_path / "a.arrow")
    with pytest.raises(DataError, match="missing; run the stage `data` first"):
        Table(tmp_path / "b.arrow")


def test_some_rows_are_kept_under_their_numbers(tmp_path: Path) -> None:
    write_table(tmp_path / "a.arrow", mixed(20))
    write_numbered(tmp_path / "b.arrow", Table(tmp_path / "a.arrow"), [7, 19])
    kept = read_numbered(tmp_path / "b.arrow")
    assert sorted(kept) == [7, 19]
    assert kept[19]["label"] == 1
    write_numbered(tmp_path / "c.arrow", Table(tmp_path / "a.arrow"), [])
    assert read_numbered(tmp_path / "c.arrow") == {}


@pytest.mark.slow
def test_reading_a_large_file_holds_little_of_it(tmp_path: Path) -> None:
    filler = np.zeros(30_000, dtype="uint8")
    write_table(tmp_path / "a.arrow", ({"blob": filler + row % 200, "label": row} for row in range(4_000)))
    assert (tmp_path / "a.arrow").stat().st_size > 100_000_000
    table, process = Table(tmp_path / "a.arrow"), psutil.Process()
    order = np.random.default_rng(0).permutation(len(table))
    for start in range(0, 1_000, 50):
        table.rows(order[start : start + 50])
    before = process.memory_info().rss
    for start in range(1_000, 4_000, 50):
        table.rows(order[start : start + 50])
    assert process.memory_info().rss - before < 50_000_000


def test_a_profile_knows_samples_by_what_they_hold(tmp_path: Path) -> None:
    rows = [*mixed(10), *({**row, "label": 2} for row in mixed(1))]
    rows[4]["x"] = np.float32("nan")
    write_table(tmp_path / "a.arrow", rows)
    table = Table(tmp_path / "a.arrow")
    profile = sample_profile(table, "train")
    assert profile["content"].nunique() == 10
    assert profile["content"].iloc[0] == profile["content"].iloc[10]
    assert set(profile["image.width"]) == {24}
    columns = column_profile(table, "train").set_index("column")
    assert columns.loc["x", "missing"] == 1
    assert columns.loc["x", "first"] == 4
    assert columns.loc["label", "kind"] == "number"
