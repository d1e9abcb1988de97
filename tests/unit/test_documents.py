"""Documents of a language model: what is read, how it is cut, and what is refused in one line."""

from pathlib import Path

import pandas as pd
import pytest

from slimline.errors import DataError
from slimline.params import DataParams
from slimline.workloads.documents import FEW, cut_documents, find_documents

LINE = "Somebody wrote number {} of these lines, and it is as long as the others are.\n"


def written(folder: Path, files: int, lines: int = 60) -> Path:
    folder.mkdir()
    for number in range(files):
        (folder / f"{number}.txt").write_text("".join(LINE.format(number * 1000 + line) for line in range(lines)))
    return folder


def test_splits_hold_whole_documents_and_their_share_of_the_bytes(tmp_path: Path) -> None:
    options = DataParams(path=str(written(tmp_path / "texts", 40)), test_fraction=0.2, validation_fraction=0.1, calibration_samples=8)
    found = find_documents(options)
    cut = cut_documents(found, options, 0)
    assert sorted(number for numbers in cut.values() for number in numbers) == list(range(40))
    assert {split: len(numbers) for split, numbers in cut.items()} == {"test": 8, "validation": 4, "calibration": 2, "train": 26}
    assert cut_documents(found, options, 1) != cut


def test_one_long_file_is_cut_into_parts_at_the_ends_of_lines(tmp_path: Path) -> None:
    found = find_documents(DataParams(path=str(written(tmp_path / "texts", 1, 900) / "0.txt")))
    assert found.is_cut
    assert len(found.texts) > FEW
    assert all(text.endswith(".\n") for text in found.texts)


def test_equal_documents_count_once_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    folder = written(tmp_path / "texts", 20)
    (folder / "again.txt").write_bytes((folder / "3.txt").read_bytes())
    (folder / ".hidden").write_bytes(b"\xff\x00")
    found = find_documents(DataParams(path=str(folder)))
    assert (len(found.texts), found.duplicates) == (20, 1)


def test_a_column_of_a_table_is_taken_cell_by_cell(tmp_path: Path) -> None:
    cells = ["".join(LINE.format(row * 100 + line) for line in range(20)) for row in range(30)]
    pd.DataFrame({"review": [*cells, None]}).to_csv(tmp_path / "t.csv", index=False)
    assert find_documents(DataParams(path=str(tmp_path / "t.csv"), text="review")).texts == tuple(cells)
    with pytest.raises(DataError, match="'reviews' is no column"):
        find_documents(DataParams(path=str(tmp_path / "t.csv"), text="reviews"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe\x00", "bad.txt: is no UTF-8 text"),
        (b"words\0words", "bad.txt: holds zero bytes, so it is no text"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    folder = written(tmp_path / "texts", 20)
    (folder / "bad.txt").write_bytes(content)
    with pytest.raises(DataError, match=said):
        find_documents(DataParams(path=str(folder)))


@pytest.mark.parametrize("files", [0, 1])
def test_too_little_text_is_refused(tmp_path: Path, files: int) -> None:
    with pytest.raises(DataError, match="holds no file" if not files else "bytes of text"):
        find_documents(DataParams(path=str(written(tmp_path / "texts", files, 5))))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder or file"):
        find_documents(DataParams(path=str(tmp_path / "nowhere")))
