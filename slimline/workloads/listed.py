"""Pictures that a table lists, a row each: where the file is, its class, and the split where a column `split` says so."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from slimline.data.preprocessing import texts_of
from slimline.errors import DataError
from slimline.workloads.pictures import SHOWN, SPLIT_FOLDERS, Found, found_of
from slimline.workloads.records import pieces

SPLIT = "split"
Listed = tuple[str, str, str | None]
"""A picture's path, class and split."""


def find_listed(folder: Path, table: str, image: str | None, target: str | None) -> Found:
    """Every picture of a table inside the folder, whose column `image` holds paths from the folder on and `target` the classes.

    Raises:
        DataError: a column was not named or is not there, a row lacks a file, a class or a split, or what `find_pictures` says.
    """
    rows, problems = [], []
    for start, piece in _numbered(folder / table):
        for where, row in _rows(piece, start, _columns(folder / table, piece, image, target)):
            listed, problem = _listed(folder, *row)
            rows.append(listed)
            problems += [f"{folder / table}: row {where}: {problem}"] if problem else []
    if problems:
        raise DataError("\n".join([*problems[:SHOWN], *([f"(and {len(problems) - SHOWN} more rows)"] if len(problems) > SHOWN else [])]))
    return found_of(folder, rows, f"holds no picture in {table}; give a row a picture")


def path_column(folder: Path, table: Path) -> str | None:
    """The first column whose cells name files of the folder, by its first rows; None where there is none."""
    first = next(pieces(table)).head(SHOWN)
    for name in first.columns:
        cells = texts_of(first[name].tolist())
        if cells and all(cell and (folder / cell).is_file() for cell in cells):
            return str(name)
    return None


def _numbered(path: Path) -> Iterator[tuple[int, pd.DataFrame]]:
    start = 0
    for piece in pieces(path):
        yield start, piece
        start += len(piece)


def _columns(path: Path, piece: pd.DataFrame, image: str | None, target: str | None) -> tuple[str, str]:
    """The columns of the paths and of the classes.

    Raises:
        DataError: one was not named, or there is none of that name.
    """
    known = [str(name) for name in piece.columns]
    for key, name, what in (("image", image, "the pictures' paths"), ("target", target, "their classes")):
        if name not in known:
            given = f" (given: {name!r})" if name else ""
            raise DataError(f"params.yaml: data.{key}: name the column of {path} that holds {what}, one of {', '.join(known)}{given}")
    return str(image), str(target)


def _rows(piece: pd.DataFrame, start: int, columns: tuple[str, str]) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Row numbers from 1 (the head is none), and path, class and split of each as text; no split is an empty one."""
    parts = [texts_of(piece[name].tolist()) for name in columns]
    splits = texts_of(piece[SPLIT].tolist()) if SPLIT in piece.columns and SPLIT not in columns else [""] * len(piece)
    return ((start + place, row) for place, row in enumerate(zip(*parts, splits, strict=True), start=1))


def _listed(folder: Path, cell: str, label: str, split: str) -> tuple[Listed, str]:
    """A row, and what is wrong with it: an empty text where nothing is."""
    path, known = folder / cell, SPLIT_FOLDERS.get(split.lower())
    listed = (str(path), label, known)
    if not cell or not path.resolve().is_relative_to(folder.resolve()):
        return listed, f"{cell!r} is no path inside {folder}"
    if not path.is_file():
        return listed, f"no file {path}"
    if not label:
        return listed, f"{cell} has no class; fill it in or remove the row"
    if split and known is None:
        return listed, f"{SPLIT} {split!r} is none of train, validation and test"
    return listed, ""
