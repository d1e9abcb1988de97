"""The rows of a table that somebody gives, piece by piece, as a workload's inputs take them: typed columns, held to what they claim."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimline.artifact.border import told_as
from slimline.errors import DataError, InputError, WorkloadError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from slimline.data.columns import Rows
    from slimline.workloads.guarded import Guarded

    Array = NDArray[Any]
    RequireFew = Callable[[Path, int], None]

TABLE_ROWS = 4096
LABEL = "label"
LONGEST_NAME = 100
"""Characters of a foreign name that are shown."""
"""Of a CSV file: a name in it takes a hundred bytes of memory."""


def inputs_of_table(path: Path, workload: "Guarded", require_few: "RequireFew") -> "Iterator[dict[str, Array]]":
    """The model's inputs by name, some thousand rows at a time; `require_few` is asked before so many rows are read.

    Raises:
        InputError: the file is not what its ending says.
        DataError: there is no row, a value is missing, or the columns do not make the model's inputs.
    """
    rows = 0
    for batch in READERS[path.suffix](path, require_few):
        if len(batch):
            yield _inputs(path, batch, workload, rows)
            rows += len(batch)
    if rows == 0:
        raise DataError(f"--input {path}: holds no row of features; give at least one sample")


def _inputs(path: Path, batch: "pa.RecordBatch", workload: "Guarded", first: int) -> "dict[str, Array]":
    if not workload.allows_missing:
        _require_whole(path, batch, first)
    rows = _rows(path, batch)
    texts = [name for name, values in rows.items() if isinstance(values, list) and isinstance(values[0], str | None)]
    words = f"column {texts[0][:LONGEST_NAME]!r} does not hold numbers, and " if texts else ""

    def told(reason: str) -> DataError:
        where = f"rows {first} to {first + len(batch) - 1}: " if first else ""
        return DataError(f"--input {path}: {where}{words}the {len(rows)} columns do not make the model's inputs: {reason}")

    with told_as(told):
        try:
            found = workload.inputs(rows)
        except WorkloadError as error:
            raise told(str(error)) from error
        return {name: value.numpy() for name, value in found.items()}


def _rows(path: Path, batch: "pa.RecordBatch") -> "Rows":
    """The columns as a workload takes them."""
    import pyarrow as pa

    from slimline.data.columns import read_rows
    from slimline.data.table import in_stored_types

    empty = [name for name in batch.schema.names if pa.types.is_null(batch.schema.field(name).type)]
    with _reading(path):
        try:
            read = read_rows(in_stored_types(batch.drop_columns(empty)))
        except DataError as error:
            raise DataError(f"--input {path}: {error}") from error
        return {name: [None] * len(batch) if name in empty else read[name] for name in batch.schema.names}


def _require_whole(path: Path, batch: "pa.RecordBatch", first: int) -> None:
    """Hold every cell to having a value, every number to being finite.

    Raises:
        DataError: one has none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        missing, infinite = column.is_null(nan_is_null=True), None
        if pa.types.is_floating(column.type):
            infinite = pc.is_inf(column)
        for where, words in ((missing, "has no value"), (infinite, "holds infinity")):
            if where is not None and (row := where.index(pa.scalar(True)).as_py()) >= 0:
                shown = repr(name[:LONGEST_NAME])
                raise DataError(f"--input {path}: column {shown} {words} in row {first + row}; fill it or drop the row")


def _reading(path: Path) -> told_as:
    return told_as(lambda reason: InputError(f"--input {path}: is no readable {path.suffix[1:]} table: {reason}"))


def _arrow(path: Path, require_few: "RequireFew") -> "Iterator[pa.RecordBatch]":
    """Pieces of a split as the stage `data` writes it."""
    import pyarrow as pa

    with _reading(path), pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
        names, rows = _features(path, reader.schema.names), 0
        for batch in reader:
            rows += len(batch)
            require_few(path, rows)
            batch.validate(full=True)
            features = batch.select(names)
            yield from (features.slice(start, TABLE_ROWS) for start in range(0, len(batch), TABLE_ROWS))


def _parquet(path: Path, require_few: "RequireFew") -> "Iterator[pa.RecordBatch]":
    """Pieces of a Parquet file; of columns, types and rows its footer is asked before any of them is read."""
    from pyarrow import parquet

    with _reading(path), parquet.ParquetFile(path) as file:
        names = _features(path, file.schema_arrow.names)
        require_few(path, file.metadata.num_rows)
        yield from (batch.select(names) for batch in file.iter_batches(TABLE_ROWS))


def _csv(path: Path, _require_few: "RequireFew") -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    from slimline.data.csv_file import csv_pieces

    with _reading(path):
        for table in csv_pieces(path, TABLE_ROWS):
            names = _features(path, [str(name) for name in table.columns])
            yield pa.RecordBatch.from_pandas(table[names], preserve_index=False)


READERS: "dict[str, Callable[[Path, RequireFew], Iterator[pa.RecordBatch]]]" = {".arrow": _arrow, ".parquet": _parquet, ".csv": _csv}
"""Ending -> what reads such a table."""


def _features(path: Path, names: "list[str]") -> "list[str]":
    """The columns beside the label, each once."""
    features = [name for name in names if name != LABEL]
    if not features:
        raise DataError(f"--input {path}: holds no row of features; give at least one sample")
    if twice := sorted(name for name in set(features) if features.count(name) > 1):
        raise DataError(f"--input {path}: column {twice[0][:LONGEST_NAME]!r} stands twice; keep one")
    return features
