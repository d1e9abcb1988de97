"""Samples on disk: an Arrow stream, equal byte for byte for equal data, of which any rows are read without loading the rest."""

import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from slimline.artifact.border import told_as
from slimline.data.columns import IMAGE, arrow_schema, kind_of, read_rows, storable
from slimline.errors import DataError

GROUP = 500
"""Rows that are written, and found again, together."""
NUMBER = "sample"
"""The column that holds a row's number in another table."""
HELD_BYTES = 4_000_000
"""So much of a file is read before its pages are given back to the system."""
AROUND_BYTES = 65_536
"""What Linux maps around a place that is read by itself (fault-around)."""
Source = Any
"""What a workload may give as a split: a DataFrame, an Arrow table, a `datasets.Dataset`, or any iterable of mappings."""


class Table:
    """The rows of one file. Nothing is read before it is asked for, and what was read is not held."""

    def __init__(self, path: Path) -> None:
        """Open a file that `write_table` wrote.

        Raises:
            DataError: it is missing or damaged.
        """
        if not path.is_file():
            raise DataError(f"{path}: missing; run the stage `data` first (dvc repro data)")
        again = "prepare it again (dvc repro --force data)"
        with told_as(lambda reason: DataError(f"{path}: is no readable Arrow stream: {reason}; {again}")):
            self.path = path
            with path.open("rb") as stream:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            with pa.ipc.open_stream(pa.BufferReader(pa.py_buffer(self._map))) as reader:
                self.schema = reader.schema
                self._groups = list(reader)
        self._starts = np.cumsum([0, *(len(group) for group in self._groups)])
        self._read_bytes = 0

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(self.schema.names)

    def batch(self, rows: slice | Iterable[int]) -> pa.RecordBatch:
        """These rows, in the order that they are asked for, as Arrow has them."""
        wanted = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(list(rows), dtype=np.int64)
        where = np.searchsorted(self._starts, wanted, side="right") - 1
        parts, places = [], []
        for group in np.unique(where):
            mine = np.flatnonzero(where == group)
            parts.append(self._groups[group].take(pa.array(wanted[mine] - self._starts[group])))
            places.append(mine)
        found = pa.Table.from_batches(parts, self.schema).combine_chunks()
        if len(parts) > 1:
            found = found.take(pa.array(np.argsort(np.concatenate(places), kind="stable")))
        self._give_back(found.nbytes if isinstance(rows, slice) else max(found.nbytes, AROUND_BYTES * len(wanted)))
        return found.to_batches()[0] if len(found) else pa.RecordBatch.from_pylist([], self.schema)

    def rows(self, rows: slice | Iterable[int]) -> dict[str, Any]:
        """These rows, column by column, as a workload's `inputs` takes them."""
        return read_rows(self.batch(rows))

    def row(self, number: int) -> dict[str, Any]:
        """One row: column name -> its value."""
        return {name: values[0] for name, values in self.rows([number]).items()}

    def groups(self) -> Iterator[dict[str, Any]]:
        """All rows in order, some hundred at a time."""
        for start in range(0, len(self), GROUP):
            yield self.rows(slice(start, start + GROUP))

    def _give_back(self, read_bytes: int) -> None:
        """Pages of a mapped file count as this process's memory until the system is told that they need not stay."""
        self._read_bytes += read_bytes
        if self._read_bytes > HELD_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read_bytes = 0


def write_table(path: Path, source: Source) -> int:
    """Write a split, whatever it is given as; returns how many rows it has. Nothing is held but one group of rows.

    Raises:
        DataError: a column is of no kind that can be stored, or differs from the rows before.
    """
    groups = _groups(source)
    first = next(groups, None)
    if first is None:
        return 0
    schema, rows = arrow_schema(_fields(first.schema)), 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for group in chain([first], groups):
            rows += _write(writer, group, schema)
    return rows


def write_numbered(path: Path, table: Table, numbers: Sequence[int]) -> None:
    """Write some rows of a table as a table of their own, each with its number in the first."""
    batch = table.batch(numbers)
    schema = arrow_schema([pa.field(NUMBER, pa.int64()), *table.schema])
    numbered = pa.RecordBatch.from_arrays([pa.array(list(numbers), pa.int64()), *batch.columns], schema=schema)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(numbered)


def read_numbered(path: Path) -> dict[int, dict[str, Any]]:
    """Rows by the number that they have in the table that they were taken from."""
    table = Table(path)
    found = [table.row(place) for place in range(len(table))]
    return {int(row.pop(NUMBER)): row for row in found}


def _write(writer: pa.RecordBatchStreamWriter, group: pa.RecordBatch, schema: pa.Schema) -> int:
    if group.schema.names != schema.names:
        raise DataError(f"a row has the columns {group.schema.names}, those before {schema.names}; give every row the same")
    with told_as(lambda reason: DataError(f"a column changes its type from one row to another: {reason}; give each column one type")):
        arrays = [_cast(column, field.type) for column, field in zip(group.columns, schema, strict=True)]
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return len(group)


def in_stored_types(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Rows that came from elsewhere, in the types in which samples are written.

    Raises:
        DataError: a column is of no kind that can be stored.
    """
    schema = pa.schema(_fields(batch.schema))
    return pa.RecordBatch.from_arrays(
        [_cast(column, field.type) for column, field in zip(batch.columns, schema, strict=True)], schema=schema
    )


def _cast(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    return column if column.type == wanted else column.cast(wanted)


def _fields(schema: pa.Schema) -> Iterator[pa.Field]:
    for field in schema:
        kind_of(field.name, field.type)
        yield pa.field(field.name, _plain(field.type))


def _plain(kind: pa.DataType) -> pa.DataType:
    """Lists of any length, and text of one type: what a later group may need too."""
    if pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return pa.string() if pa.types.is_large_string(kind) else kind


def _groups(source: Source) -> Iterator[pa.RecordBatch]:
    if hasattr(source, "iloc"):  # a DataFrame; pandas costs every stage half a second, so it is not imported to ask
        for start in range(0, len(source), GROUP):
            part = source.iloc[start : start + GROUP]
            yield _of_columns({str(name): part[name] for name in part.columns})
        return
    if isinstance(source, pa.Table):
        yield from source.to_batches(GROUP)
        return
    if hasattr(source, "with_format"):  # a datasets.Dataset: its pictures stay encoded as they are
        yield from (table.combine_chunks().to_batches()[0] for table in source.with_format("arrow").iter(GROUP))
        return
    rows = iter(source)
    while group := list(islice(rows, GROUP)):
        yield _of_columns({str(name): [row[name] for row in group] for name in group[0]})


def _of_columns(columns: Mapping[str, Any]) -> pa.RecordBatch:
    arrays = {}
    for name, values in columns.items():
        arrays[name] = _column(name, values)
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _column(name: str, values: Any) -> pa.Array:
    with told_as(lambda reason: DataError(f"column {name[:60]!r} cannot be stored: {reason}; give every row one type")):
        return _array(values)


def _array(values: Any) -> pa.Array:
    if hasattr(values, "to_numpy") and values.dtype.kind in "fiub":
        return pa.array(values.to_numpy())
    cells = [storable(value) for value in values]
    if any(isinstance(cell, str) for cell in cells):  # pandas says NaN of a text that is missing
        cells = [None if isinstance(cell, float) and cell != cell else cell for cell in cells]
    types = {str(getattr(value, "dtype", "")) for value in values} - {""}
    if isinstance(cells[0], dict) and set(cells[0]) == {"bytes", "path"}:
        return pa.array(cells, IMAGE)
    found = pa.array(cells)
    if len(types) == 1 and pa.types.is_list(found.type):
        return found.cast(_nested(found.type, pa.from_numpy_dtype(types.pop())))
    return found.cast(pa.from_numpy_dtype(types.pop())) if len(types) == 1 and found.type != pa.string() else found


def _nested(kind: pa.DataType, inner: pa.DataType) -> pa.DataType:
    return pa.list_(_nested(kind.value_type, inner)) if pa.types.is_list(kind) else inner
