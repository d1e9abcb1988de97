"""A CSV file some rows at a time: its values are parted by comma, semicolon, tab or bar, its numbers have a point or a comma."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from slimline.errors import DataError

MARKS = (",", ";", "\t", "|")
LONGEST_NAMES_BYTES, LONGEST_LOOK_BYTES = 1_000_000, 100_000
LOOKED_AT = 200
"""Lines that say whether numbers have a comma or a point."""
QUOTED = re.compile(r'"(?:[^"]|"")*"')
POINT, COMMA = (re.compile(rf"[+-]?\d+{re.escape(mark)}\d+") for mark in ".,")


def csv_pieces(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    """At most `rows` rows at a time; the first line has the columns' names.

    Raises:
        DataError: a row holds more values than there are names, the names take more than a megabyte, a name has a control character, or
            two columns have one name.
        ValueError: pandas cannot read it (pandas.errors.ParserError), or it is no UTF-8.
    """
    lines = _first_lines(path)
    mark = _mark(lines[0])
    decimal = "," if mark != "," and _has_decimal_commas(lines[1:], mark) else "."
    options: dict[str, Any] = {"sep": mark, "decimal": decimal, "skipinitialspace": True, "encoding": "utf-8", "low_memory": False}
    try:  # with names, pandas would make row names of the first column, and shift the others
        names = pd.read_csv(path, nrows=2, header=None, **options).iloc[0]
    except pd.errors.ParserError:
        raise DataError(f"{path}: its rows hold more values than its first line names columns") from None
    if twice := [name for name, count in Counter(map(str, names.dropna())).items() if count > 1]:
        raise DataError(f"{path}: has several columns {twice[0]!r}; names are unique; rename or drop one")
    with pd.read_csv(path, chunksize=rows, **options) as reader:
        for piece in reader:
            if odd := [name for name in map(str, piece.columns) if not name.isprintable()]:
                raise DataError(f"{path}: the column {odd[0][:80]!r} has a control character in its name; rename it")
            yield piece


def _first_lines(path: Path) -> list[str]:
    with path.open("rb") as stream:
        names = stream.readline(LONGEST_NAMES_BYTES + 1)
        found = [names, *(stream.readline(LONGEST_LOOK_BYTES) for _ in range(LOOKED_AT))]
    if len(names) > LONGEST_NAMES_BYTES:
        raise DataError(f"{path}: is no readable csv table: its first line is longer than {LONGEST_NAMES_BYTES:,} bytes")
    return [QUOTED.sub('""', line.decode("utf-8", errors="replace")) for line in found]


def _mark(names: str) -> str:
    """The mark that stands most often between the columns' names; a comma where several do."""
    counts = Counter(letter for letter in names if letter in MARKS)
    return max(MARKS, key=lambda mark: counts[mark])


def _has_decimal_commas(lines: list[str], mark: str) -> bool:
    cells = [cell.strip() for line in lines for cell in line.split(mark)]
    return any(map(COMMA.fullmatch, cells)) and not any(map(POINT.fullmatch, cells))
