"""Raw samples, as people have them: a picture, a folder of pictures, a table of columns; made inputs by a release's own preprocessing."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimline.artifact.border import told_as
from slimline.errors import DataError, InputError
from slimline.workloads.pictures import ENDINGS, MOST_PIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slimline.data.preprocessing import Preprocessing

TABLES = (".csv", ".parquet")
PIECE, TABLE_ROWS = 64, 4096


def is_raw(path: Path) -> bool:
    """Whether a path names raw samples rather than arrays.

    Raises:
        InputError: it is no name that a file can have.
    """
    with told_as(lambda reason: InputError(f"--input {str(path)[:300]}: cannot be read: {reason}")):
        return path.is_dir() or path.suffix.lower() in (*ENDINGS, *TABLES)


def raw_samples(path: Path, preprocessing: "Preprocessing") -> "Iterator[tuple[dict[str, NDArray[Any]], list[Path]]]":
    """The model's inputs by name, some samples at a time, in order (of a folder: by path), each with its pictures' files.

    Raises:
        InputError: no such file, or it is none that the preprocessing takes.
        DataError: a picture or table cannot be read, or a column is missing.
    """
    if not path.exists():
        raise InputError(f"--input {path}: no such file")
    if preprocessing.kind == "pictures":
        yield from _of_pictures(path, preprocessing)
    else:
        yield from ((piece, []) for piece in _of_table(path, preprocessing))


def _of_pictures(path: Path, preprocessing: "Preprocessing") -> "Iterator[tuple[dict[str, NDArray[Any]], list[Path]]]":
    below = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    files = [file for file in below if file.suffix.lower() in ENDINGS]
    if not files:
        raise InputError(f"--input {path}: holds no picture, which this model takes ({', '.join(sorted(ENDINGS))})")
    for start in range(0, len(files), PIECE):
        some = files[start : start + PIECE]
        yield preprocessing({preprocessing.columns[0]: [_picture(file) for file in some]}), some


def _picture(file: Path) -> Any:
    from PIL import Image

    with told_as(lambda reason: DataError(f"--input {file}: is no readable picture: {reason}")):
        picture = Image.open(file)
        if picture.width * picture.height > MOST_PIXELS:
            raise DataError(
                f"--input {file}: unpacks to {picture.width} x {picture.height} pixels, more than {MOST_PIXELS:,}; scale it down"
            )
        picture.load()
        return picture


def _of_table(path: Path, preprocessing: "Preprocessing") -> "Iterator[dict[str, NDArray[Any]]]":
    from slimline.data.preprocessing import require_columns

    if path.suffix.lower() not in TABLES:
        raise InputError(f"--input {path}: is no table, which this model takes ({', '.join(TABLES)})")
    count = 0
    for piece in _pieces(path):
        require_columns(preprocessing, [str(name) for name in piece.columns])
        for start in range(0, len(piece), PIECE):
            yield _inputs(path, piece.iloc[start : start + PIECE], count + start, preprocessing)
        count += len(piece)
    if count == 0:
        raise DataError(f"--input {path}: holds no row; give at least one sample")


def _inputs(path: Path, part: Any, first: int, preprocessing: "Preprocessing") -> "dict[str, NDArray[Any]]":
    with told_as(lambda reason: DataError(f"--input {path}: rows from {first} on: {reason}")):
        return preprocessing({name: part[name].tolist() for name in preprocessing.columns})


def _pieces(path: Path) -> Iterator[Any]:
    with told_as(lambda reason: InputError(f"--input {path}: is no readable {path.suffix[1:]} table: {reason}")):
        from slimline.data.csv_file import csv_pieces
        from slimline.data.parquet_file import parquet_pieces

        yield from (parquet_pieces if path.suffix.lower() == ".parquet" else csv_pieces)(path, TABLE_ROWS)
