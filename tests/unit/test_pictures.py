"""A folder of pictures as people have them: every mode is read, and what cannot be learned from is one line."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slimline.data.preprocessing import Pictures, fitted, upright
from slimline.data.table import Table, write_table
from slimline.errors import DataError
from slimline.params import DataParams
from slimline.workloads.images import Images, cut_pictures, normalisation, usual_side
from slimline.workloads.listed import find_listed, path_column
from slimline.workloads.pictures import encoded, find_pictures


def drawn(seed: int, size: tuple[int, int] = (20, 16), mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def folder_of(root: Path, classes: int = 2, each: int = 8, start: int = 0) -> Path:
    for label in range(classes):
        (root / f"class{label}").mkdir(parents=True)
        for number in range(each):
            drawn(start + 100 * label + number).save(root / f"class{label}" / f"{number}.png")
    return root


def test_every_picture_is_found_once_with_its_class(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", classes=3)
    drawn(0).save(folder / "class0" / "copy.png")
    (folder / "class0" / "notes.txt").write_text("no picture")
    found = find_pictures(folder)
    assert found.labels == ("class0", "class1", "class2")
    assert len(found.pictures) == 24
    assert found.duplicates == 1
    assert usual_side(found.pictures) == 16
    splits = cut_pictures(found, DataParams(test_fraction=0.3, validation_fraction=0.2, calibration_samples=4), 0)
    contents = [picture.content for pictures in splits.values() for picture in pictures]
    assert len(contents) == len(set(contents)) == 24
    assert all({picture.label for picture in pictures} == set(found.labels) for pictures in splits.values())


def test_the_folders_say_what_is_for_test(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos/train", each=12)
    folder_of(tmp_path / "photos/val", each=4, start=1000)
    folder_of(tmp_path / "photos/test", each=5, start=2000)
    splits = cut_pictures(find_pictures(tmp_path / "photos"), DataParams(calibration_samples=4), 0)
    assert {split: len(pictures) for split, pictures in splits.items()} == {"train": 20, "validation": 8, "calibration": 4, "test": 10}


def test_a_folder_of_training_pictures_alone_is_cut(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos/train", each=20)
    found = find_pictures(tmp_path / "photos")
    assert found.labels == ("class0", "class1")
    splits = cut_pictures(found, DataParams(test_fraction=0.25, validation_fraction=0.1, calibration_samples=4), 0)
    assert {split: len(pictures) for split, pictures in splits.items()} == {"train": 22, "validation": 4, "calibration": 4, "test": 10}


def test_a_class_that_one_of_the_folders_lacks_is_said(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos/train", classes=2, each=12)
    folder_of(tmp_path / "photos/test", classes=3, each=4, start=1000)
    with pytest.raises(DataError, match="the folder of train holds no picture of class 'class2', which another has; add some there"):
        cut_pictures(find_pictures(tmp_path / "photos"), DataParams(calibration_samples=4), 0)


def test_classes_that_lie_deeper_are_pointed_at(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos/all/pictures")
    with pytest.raises(DataError, match=r"holds one class, 'all'; .*; or is it .*photos/all/pictures, which holds several folders\?"):
        find_pictures(tmp_path / "photos")


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK", "RGBA", "I;16"])
def test_pictures_of_every_mode_become_the_same_size(mode: str) -> None:
    picture = Image.fromarray((np.arange(320).reshape(16, 20) * 200).astype(np.uint16)) if mode == "I;16" else drawn(0, mode=mode)
    for wanted in ("L", "RGB"):
        small = fitted(upright(picture, wanted), 8, 8)
        assert small.size == (8, 8)
        assert small.mode == wanted
        assert np.ptp(np.asarray(small)) > 10


def test_normalised_pictures_have_no_mean_and_a_deviation_of_one(tmp_path: Path) -> None:
    found = find_pictures(folder_of(tmp_path / "photos"))
    write_table(tmp_path / "train.arrow", encoded(found.pictures, found.labels))
    table = Table(tmp_path / "train.arrow")
    mean, scale = normalisation(table, 16, "RGB")
    pixels = Pictures(column="image", height=16, width=16, mode="RGB", mean=mean, scale=scale)(table.rows(slice(0, 16)))["pixels"]
    assert pixels.shape == (16, 3, 16, 16)
    assert np.allclose(pixels.mean((0, 2, 3)), 0, atol=0.01)
    assert np.allclose(pixels.std((0, 2, 3)), 1, atol=0.02)


def spoil(folder: Path, how: str) -> None:
    if how == "empty":
        for file in folder.rglob("*.png"):
            file.unlink()
    elif how == "one class":
        for file in (folder / "class1").iterdir():
            file.unlink()
    elif how == "one picture":
        for file in list((folder / "class1").iterdir())[1:]:
            file.unlink()
    elif how == "truncated":
        path = folder / "class1" / "0.png"
        path.write_bytes(path.read_bytes()[:200])
    elif how == "no picture":
        (folder / "class1" / "0.png").write_bytes(b"hello")
    elif how == "bomb":
        stream = io.BytesIO()
        Image.new("1", (9000, 9000)).save(stream, "PNG")
        (folder / "class1" / "0.png").write_bytes(stream.getvalue())
    elif how == "two classes":
        drawn(0).save(folder / "class1" / "same.png")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("empty", r"holds no picture in a folder of its own class"),
        ("one class", r"holds one class, 'class0'; give a folder for each of two or more"),
        ("one picture", r"class 'class1' has 1 picture; give at least 4, one a split"),
        ("truncated", r"class1/0.png: is no readable picture: .*; mend or remove it"),
        ("no picture", r"class1/0.png: is no readable picture: .*; mend or remove it"),
        ("bomb", r"class1/0.png: (unpacks to 9000 x 9000 pixels|is no readable picture: .*exceeds limit)"),
        ("two classes", r"class1/same.png: is the same picture as .*class0/0.png, in another class; keep the right one"),
    ],
)
def test_what_cannot_be_learned_from_is_one_line(tmp_path: Path, how: str, said: str) -> None:
    folder = folder_of(tmp_path / "photos")
    spoil(folder, how)
    with pytest.raises(DataError, match=said) as caught:
        find_pictures(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_a_picture_in_two_splits_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos/train")
    folder_of(tmp_path / "photos/test", start=500)
    drawn(0).save(tmp_path / "photos/test/class0/known.png")
    with pytest.raises(DataError, match=r"in another split, so that test would know it; remove one"):
        find_pictures(tmp_path / "photos")


def test_no_folder_is_said() -> None:
    with pytest.raises(DataError, match="is no folder"):
        Images(DataParams(path="nowhere")).splits(0)


def listed_folder(root: Path, rows: list[str]) -> Path:
    """Eight pictures in one folder, and a table with these rows."""
    (root / "all").mkdir(parents=True)
    for number in range(8):
        drawn(number).save(root / "all" / f"{number}.png")
    (root / "labels.csv").write_text("\n".join(["file,kind,split", *rows]) + "\n")
    return root


def test_a_table_lists_pictures_with_class_and_split(tmp_path: Path) -> None:
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    folder = listed_folder(tmp_path / "photos", [f"all/{n}.png,{'cat' if n % 2 else 'dog'},{split}" for n, split in enumerate(splits)])
    assert path_column(folder, folder / "labels.csv") == "file"
    found = find_listed(folder, "labels.csv", "file", "kind")
    assert found.labels == ("cat", "dog")
    assert found.is_split
    assert [(Path(picture.path).name, picture.label, picture.split) for picture in found.pictures[4:6]] == [
        ("4.png", "dog", "validation"),
        ("5.png", "cat", "validation"),
    ]


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        (
            ["all/0.png,cat,"],
            (None, "kind"),
            r"data.image: name the column of .*labels.csv that holds the pictures' paths, one of file, kind",
        ),
        (["all/0.png,cat,"], ("file", "sort"), r"data.target: .* their classes, one of file, kind, split \(given: 'sort'\)"),
        (["all/0.png,cat,", "all/9.png,dog,"], ("file", "kind"), r"labels.csv: row 2: no file .*all/9.png"),
        (["../../etc/passwd,cat,"], ("file", "kind"), r"row 1: '../../etc/passwd' is no path inside"),
        (["all/0.png,,"], ("file", "kind"), r"row 1: all/0.png has no class; fill it in or remove the row"),
        (["all/0.png,cat,holdout"], ("file", "kind"), r"row 1: split 'holdout' is none of train, validation and test"),
        ([], ("file", "kind"), r"holds no picture in labels.csv; give a row a picture"),
        (["all/0.png,cat,", "all/0.png,dog,"], ("file", "kind"), r"class 'cat' has 1 picture"),
    ],
)
def test_what_a_table_cannot_say_is_said(tmp_path: Path, rows: list[str], columns: tuple[str | None, str | None], said: str) -> None:
    folder = listed_folder(tmp_path / "photos", rows)
    with pytest.raises(DataError, match=said):
        find_listed(folder, "labels.csv", *columns)
