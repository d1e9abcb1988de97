"""A table in a file: which columns it has, of which kinds, and what speaks against them, read piece by piece."""

import hashlib
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from slimline.artifact.border import told_as
from slimline.data.csv_file import csv_pieces
from slimline.data.parquet_file import parquet_pieces
from slimline.data.preprocessing import texts_of
from slimline.errors import DataError

PIECE_ROWS = 20_000
MOST_LEVELS, MOST_SHARE = 1_000, 0.5
"""A text column of more different values, or with more of them than this share of rows, is no category."""
LONGEST_CELL = 10_000
"""Characters of a cell; more is a text, not a category."""
LABEL = "label"
"""What the target is called among the prepared columns."""
FEW_CLASSES = 20
"""A target of whole numbers with more different values is a number."""
SEVERAL_WORDS = 3
"""A cell of so many words is a text to be read, not a name."""
PARTS = (list, tuple, set, dict, bytes, np.ndarray)
"""Cells of a Parquet file that hold several values."""
DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}( .*)?")
WRITTEN = re.compile(r"[^\w\s]?\s*[+-]?\d{1,3}(([ ,.'_]?\d{3})*)([.,]\d+)?\s*([^\w\s]|[A-Z]{3})?")
"""A number as people write it: $1,000.50, 12 %, 1.000,50 EUR."""
LOOKED_AT = 20
"""Texts of a column from which its form is told."""
Kind = Literal["number", "category"]
Task = Literal["classification", "regression"]


@dataclass
class ColumnFacts:
    """What a column holds, gathered piece by piece: how many numbers, texts, missing and infinite cells, and its different texts.

    Of the texts, `dates` are dates and `written` numbers as people write them; `nested` cells hold several values.
    """

    name: str
    numbers: int = 0
    texts: int = 0
    missing: int = 0
    dates: int = 0
    written: int = 0
    nested: int = 0
    infinite: int = 0
    longest: int = 0
    levels: Counter[str] = field(default_factory=Counter)
    example: str = ""

    @property
    def kind(self) -> Kind:
        """A number where every cell is one."""
        return "category" if self.texts else "number"


@dataclass(frozen=True)
class TableFound:
    """A file's columns, how many rows it has, the target's kind, its values and each row's content (target left out)."""

    path: Path
    target: str
    task: Task
    columns: tuple[ColumnFacts, ...]
    labels: tuple[str, ...]
    targets: np.ndarray
    contents: np.ndarray

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.targets)


def pieces(path: Path, drop: Sequence[str] = ()) -> Iterator[pd.DataFrame]:
    """A CSV or Parquet file some rows at a time, without the columns of `drop`.

    Raises:
        DataError: there is no such file, or it is no table.
    """
    if not path.is_file():
        raise DataError(f"params.yaml: data.path: no file {path}; give a .csv or .parquet table")
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise DataError(f"params.yaml: data.path: {path} ends with {path.suffix or 'nothing'!r}; give a .csv or .parquet table")
    with told_as(lambda reason: DataError(f"{path}: is no readable {path.suffix[1:]} table: {reason}; {_mended(path, reason)}")):
        for piece in (parquet_pieces if path.suffix.lower() == ".parquet" else csv_pieces)(path, PIECE_ROWS):
            if absent := [name for name in drop if name not in piece.columns]:
                raise DataError(f"params.yaml: data.drop: {path} has no column {absent[0]!r}; it has: {', '.join(map(str, piece.columns))}")
            yield piece.drop(columns=list(drop))


def find_table(path: Path, target: str | None, drop: Sequence[str], task: Task | None, *, text: str | None = None) -> TableFound:
    """Look through a table once; the column `text` may hold what it likes.

    Raises:
        DataError: the target is not there, constant, or all distinct; a column mixes types, holds dates or too many categories; all
            problems together.
    """
    columns: dict[str, ColumnFacts] = {}
    targets: list[Any] = []
    contents: list[str] = []
    for piece in pieces(path, drop):
        names = [str(name) for name in piece.columns]
        if target is None or target not in names:
            raise DataError(f"params.yaml: data.target: {target!r} is no column of {path}; it has: {', '.join(map(_shown, names))}")
        for name in names:
            _gather(columns.setdefault(name, ColumnFacts(name)), piece[name])
        targets += piece[target].tolist()
        contents += content_of(piece.drop(columns=target))
    if not targets:
        raise DataError(f"{path}: holds no row")
    asked = columns.pop(str(target))
    if text is not None and text not in columns:
        raise DataError(f"params.yaml: data.text: {text!r} is no column of {path}; it has: {', '.join(map(_shown, columns))}")
    problems = [problem for column in columns.values() if column.name != text and (problem := column_problem(path, column, len(targets)))]
    if LABEL in columns:
        problems.append(f"{path}: column {LABEL!r} has the name that targets have here, and is none; rename it, or leave it out")
    if not columns:
        problems.append(f"{path}: has no column beside the target {target!r}; give it some to learn from")
    found = _task(asked) if task is None else task
    if wrong := target_problem(path, asked, found, len(targets)):
        problems.append(wrong)
    if problems:
        raise DataError("\n".join(problems))
    if found == "classification":
        texts = np.array(texts_of(targets))
        labels = tuple(sorted(set(texts.tolist()), key=_in_order))
        values = np.searchsorted(np.array(sorted(labels)), texts)
        place = np.array([labels.index(label) for label in sorted(labels)])
        return TableFound(path, str(target), found, tuple(columns.values()), labels, place[values].astype(np.int64), np.array(contents))
    return TableFound(path, str(target), found, tuple(columns.values()), (), np.array(targets, dtype=np.float64), np.array(contents))


def column_problem(path: Path, column: ColumnFacts, rows: int) -> str:
    """Why a column cannot be learned from as it is, and the way out; empty where it can."""
    where = f"{path}: column {column.name!r}"
    out = f"leave it out: data.drop: [{column.name}], or slimline init --drop {shlex.quote(column.name)}"
    if column.nested:
        return f"{where} holds several values in a cell, such as {column.example!r}; make a column of each, or {out}"
    if column.numbers and column.texts and sum(map(_is_number, column.levels)) > FEW_CLASSES:
        return f"{where} mixes {column.numbers:,} numbers with texts such as {column.example!r}; make it one of them, or {out}"
    if column.infinite:
        return f"{where} is infinite in {column.infinite:,} of {rows:,} rows; write a number there, or nothing, or {out}"
    if column.dates:
        return f"{where} holds dates such as {column.example!r}; make numbers of them (a year, days since then), or {out}"
    if column.longest > LONGEST_CELL:
        return f"{where} holds a text of {column.longest:,} characters; take workload: text for it, or {out}"
    if column.texts and (len(column.levels) > MOST_LEVELS or (len(column.levels) > MOST_SHARE * rows and len(column.levels) > FEW_CLASSES)):
        if column.written:
            return f"{where} holds {_AS_TEXTS} {column.example!r}; {_PLAINLY}, or {out}"
        if len(column.example.split()) >= SEVERAL_WORDS:
            asked = f"--text {shlex.quote(column.name)}"
            return f"{where} holds texts such as {column.example!r}; learn from one such column alone: {asked}, or {out}"
        return f"{where} holds {len(column.levels):,} different texts in {rows:,} rows, so it names rows and is no category; {out}"
    if column.missing == rows:
        return f"{where} is empty; {out}"
    return ""


def target_problem(path: Path, column: ColumnFacts, task: Task, rows: int) -> str:
    """Why a column cannot be the target; empty where it can."""
    where = f"params.yaml: data.target: column {column.name!r} of {path}"
    if column.nested:
        return f"{where} holds several values in a cell, such as {column.example!r}; name a column of one"
    if column.missing:
        return f"{where} is missing in {column.missing:,} of {rows:,} rows; fill or remove these rows"
    if column.infinite:
        return f"{where} is infinite in {column.infinite:,} of {rows:,} rows; mend or remove these rows"
    if len(column.levels) < 2:
        return f"{where} is always {next(iter(column.levels), '')!r}; there is nothing to learn"
    if column.numbers and column.texts and sum(map(_is_number, column.levels)) > FEW_CLASSES:
        return f"{where} mixes {column.numbers:,} numbers with texts such as {column.example!r}; make it one of them"
    if task == "regression" and column.texts:
        return f"{where} holds texts such as {column.example!r}, which are no numbers; take data.task: classification"
    if task == "classification" and column.written and len(column.levels) > FEW_CLASSES:
        return f"{where} holds {_AS_TEXTS} {column.example!r}; {_PLAINLY}"
    if task == "classification" and len(column.levels) > MOST_SHARE * rows:
        return f"{where} holds {len(column.levels):,} different values in {rows:,} rows, too many to be classes; name another column"
    if task == "classification" and (rare := [label for label, count in column.levels.items() if count < 4]):
        return f"{where} has the class {rare[0]!r} in {column.levels[rare[0]]} rows; each class needs at least 4, one a split"
    return ""


_AS_TEXTS = "numbers that are written as texts, such as"
_PLAINLY = "write them plainly (1000.5)"


def _shown(name: str) -> str:
    """A column's name; in quotes where one would not see all of it."""
    return name if name == name.strip() and name else repr(name)


def _mended(path: Path, reason: str) -> str:
    """What to do with a file that cannot be read."""
    if "codec can't decode" in reason:
        return "save it as UTF-8"
    return "its first line names the columns, each other line is a row" if path.suffix.lower() == ".csv" else "write it anew"


def _task(target: ColumnFacts) -> Task:
    few = len(target.levels) <= FEW_CLASSES and all(level.lstrip("-").isdigit() for level in target.levels)
    return "classification" if target.texts or few else "regression"


def _gather(facts: ColumnFacts, cells: pd.Series) -> None:
    present = cells.dropna()
    facts.missing += len(cells) - len(present)
    if present.empty:
        return
    if present.dtype == object and (nested := present[present.map(lambda cell: isinstance(cell, PARTS))]).size:
        facts.nested += len(nested)
        facts.example = facts.example or str(nested.iloc[0])[:40]
        return
    if pd.api.types.is_bool_dtype(present) or not pd.api.types.is_numeric_dtype(present):
        is_number = present.map(_is_number)
        texts = present[~is_number].astype(str)
        facts.numbers += int(is_number.sum())
        facts.texts += len(texts)
        if len(texts):
            facts.example = facts.example or texts.iloc[0][:40]
            facts.longest = max(facts.longest, int(texts.str.len().max()))
            some = texts.head(LOOKED_AT).str.strip()
            facts.dates += len(texts) if pd.api.types.is_datetime64_any_dtype(present) or some.str.fullmatch(DATE).all() else 0
            facts.written += len(texts) if some.str.fullmatch(WRITTEN).all() else 0
    else:
        facts.numbers += len(present)
        facts.infinite += int(np.isinf(present.astype(np.float64)).sum())
    if len(facts.levels) <= 2 * MOST_LEVELS:
        facts.levels.update(texts_of(present.tolist()))


def _is_number(cell: object) -> bool:
    """Whether a cell is a number, or the text of one: a column of a CSV file that holds one text is read as texts altogether."""
    if isinstance(cell, bool):
        return False
    try:
        float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def content_of(piece: pd.DataFrame) -> list[str]:
    """What each row holds, as a short hash."""
    return [hashlib.sha256(repr(row).encode()).hexdigest()[:24] for row in piece.itertuples(index=False, name=None)]


def _in_order(label: str) -> tuple[int, float, str]:
    """Numbers by size before texts by letters."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label
