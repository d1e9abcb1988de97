"""`table`: a CSV or Parquet file with a target column, without code."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slimline.data.preprocessing import Category, Columns, Number, numbers_of, texts_of
from slimline.data.table import Source, Table
from slimline.errors import DataError
from slimline.objectives import Objective
from slimline.objectives.classification import classification
from slimline.objectives.described import described
from slimline.objectives.regression import regression
from slimline.params import DataParams
from slimline.workloads.facts import Facts
from slimline.workloads.records import LABEL, TableFound, find_table, pieces

SPLITS = ("train", "validation", "calibration", "test")


class TableDoor:
    """The door `table`; `path` is the file, `target` the column to be told from the others."""

    def __init__(self, options: DataParams) -> None:
        self.options = options
        self.found: TableFound | None = None

    def splits(self, seed: int) -> Mapping[str, Source]:
        """The rows of each split: numbers as they are, categories as text, the target as `label`."""
        options = self.options
        self.found = find_table(Path(options.path or ""), options.target, options.drop, options.task)
        where = cut_rows(self.found, options, seed)
        return {split: _rows(self.found, self.options, where == place) for place, split in enumerate(SPLITS)}

    def facts(self, train: Table) -> Facts:
        """Fill values, means, scales and levels, from the training rows."""
        found = self.found
        assert found is not None
        rows = train.rows(slice(0, len(train)))
        numbers = [_number(column.name, rows[column.name]) for column in found.columns if column.kind == "number"]
        categories = [_category(column.name, rows[column.name]) for column in found.columns if column.kind == "category"]
        known = {
            "task": found.task,
            "rows": found.rows,
            "missing": {column.name: column.missing for column in found.columns if column.missing},
            "duplicates": found.rows - len(set(found.contents.tolist())),
        }
        preprocessing = Columns(numbers=tuple(numbers), categories=tuple(categories))
        objective = described(objective_of_table(found, rows[LABEL]))
        return Facts(preprocessing=preprocessing, objective=objective, outputs=max(len(found.labels), 1), found=known)


def cut_rows(found: TableFound, options: DataParams, seed: int) -> NDArray[np.int64]:
    """The split of each row, as a place in SPLITS; rows that are equal but for the target fall into one split.

    Raises:
        DataError: a split would lack a class, or too little would be left to train on.
    """
    _, group = np.unique(found.contents, return_inverse=True)
    order = np.random.default_rng(seed).permutation(group.max() + 1)
    share = order[group] / (group.max() + 1)
    calibration = min(options.calibration_samples / found.rows, 0.2)
    ends = np.cumsum([options.test_fraction, options.validation_fraction, calibration])
    if ends[-1] > 0.9:
        raise DataError(
            f"params.yaml: data: the splits take {ends[-1]:.0%} of {found.rows} rows and leave too few to train on; make them smaller"
        )
    where = np.select([share < ends[0], share < ends[1], share < ends[2]], [3, 1, 2], default=0)
    different = int(group.max()) + 1
    few = f"; {found.rows:,} rows are {different:,} different ones: equal ones stand in one split" if different < found.rows / 2 else ""
    for place, split in enumerate(SPLITS):
        there = set(found.targets[where == place].tolist())
        if found.labels and (lacking := [label for index, label in enumerate(found.labels) if index not in there]):
            raise DataError(
                f"params.yaml: data: the split {split} would hold no row of class {lacking[0]!r}; raise its share, or give more rows{few}"
            )
        if not there:
            raise DataError(
                f"params.yaml: data: the split {split} would hold no row of {found.rows}; raise its share, or give more rows{few}"
            )
    return np.asarray(where, dtype=np.int64)


def _rows(found: TableFound, options: DataParams, mine: NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
    start = 0
    for piece in pieces(found.path, options.drop):
        rows = np.flatnonzero(mine[start : start + len(piece)])
        part = piece.iloc[rows]
        columns = {column.name: _cells(part[column.name], column.kind) for column in found.columns}
        columns[LABEL] = found.targets[start + rows]
        start += len(piece)
        for place in range(len(rows)):
            yield {name: values[place] for name, values in columns.items()}


def _cells(cells: pd.Series, kind: str) -> Any:
    return numbers_of(cells.tolist()) if kind == "number" else texts_of(cells.tolist())


def _number(name: str, values: Any) -> Number:
    """By scikit-learn: the median fills, mean and deviation standardise; a column that never changes keeps its scale."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    column = np.asarray(values, dtype=np.float64)[:, None]
    imputer = SimpleImputer(strategy="median", keep_empty_features=True).fit(column)
    scaler = StandardScaler().fit(imputer.transform(column))
    return Number(name=name, fill=float(imputer.statistics_[0]), mean=float(scaler.mean_[0]), scale=float(scaler.scale_[0]))


def _category(name: str, values: Any) -> Category:
    return Category(name=name, levels=tuple(sorted({text for text in values if text})))


def objective_of_table(found: TableFound, targets: Any) -> Objective:
    """What is asked of a table: one of its classes, or its number, standardised."""
    if found.task == "classification":
        return classification(found.labels)
    values = np.asarray(targets, dtype=np.float64)
    return regression(found.target, mean=float(values.mean()), scale=max(float(values.std()), 1e-12), unit=found.target)
