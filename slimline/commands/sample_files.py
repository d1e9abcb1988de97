"""The samples of a file as a model's inputs, piece by piece: a NumPy array or a table, held to what it claims before memory is taken."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimline.artifact.border import told_as
from slimline.errors import DataError, InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from slimline.workloads import Workload

    Floats = NDArray[np.float32]

ENDINGS = (".npy", ".parquet", ".csv")
NUMBERS = "fiub"
"""NumPy's kinds of numbers that a model takes: floats, whole numbers and yes or no."""
PIECE_ROWS = 256
TABLE_ROWS = 16 * PIECE_ROWS
MOST_ROWS = 1_000_000
"""A file of some kB can claim as many rows as it likes."""
LONGEST_HEADER_BYTES = 1_000_000
"""Of a CSV file: a name in it takes a hundred bytes of memory."""


def samples(path: Path, input_shape: tuple[int, ...], columns: tuple[str, ...], workload: "Callable[[], Workload]") -> "Iterator[Floats]":
    """The model's inputs, float32 [n, …] with n at most 256, in order.

    `columns` are the feature columns of a table in the model's order (none: all but `label`); `workload` is asked for a table only.

    Raises:
        InputError: no such file, an unknown ending, not what its ending says, or the wrong shape.
        DataError: there is no sample, a value is missing or not finite, or a column is.
    """
    import numpy as np

    _require_file(path)
    expected = ", ".join(str(size) for size in input_shape)
    first = 0
    for part in _of_array(path) if path.suffix == ".npy" else _of_table(path, columns, workload):
        if part.shape[1:] != input_shape or len(part) == 0:
            raise InputError(f"--input {path}: has shape {list(part.shape)}; the model takes [N, {expected}] with N at least 1")
        for start in range(0, len(part), PIECE_ROWS):
            with np.errstate(over="ignore"):
                piece = np.ascontiguousarray(part[start : start + PIECE_ROWS], dtype=np.float32)
            if not (finite := np.isfinite(piece).reshape(len(piece), -1).all(axis=1)).all():
                row = first + start + int(np.argmin(finite))
                raise DataError(f"--input {path}: row {row} holds NaN or infinity (as float32); mend or drop it")
            yield piece
        first += len(part)
        _require_few(path, first)


def _require_file(path: Path) -> None:
    with told_as(lambda reason: InputError(f"--input {str(path)[:300]}: cannot be read: {reason}")):
        if path.suffix not in ENDINGS:
            raise InputError(f"--input {path}: ends with {path.suffix or 'nothing'!r}; give one of {', '.join(ENDINGS)}")
        if not path.is_file():
            raise InputError(f"--input {path}: no such file" + (" (it is no regular one)" if path.exists() else ""))


def _require_few(path: Path, rows: int) -> None:
    if rows > MOST_ROWS:
        raise InputError(
            f"--input {path}: holds {rows:,} samples, one call takes {MOST_ROWS:,}; cut it, or call slimline.runtime.load in Python"
        )


def _of_array(path: Path) -> "Iterator[Any]":
    """The one array, mapped: what it claims beyond the file's end is refused, and nothing is read before it is asked for."""
    import numpy as np

    with told_as(lambda reason: InputError(f"--input {path}: is no array of numbers in NumPy's format: {reason}")):
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise InputError(f"--input {path}: is no array of numbers in NumPy's format but an archive of them; save one array")
        if np.iscomplexobj(values):
            raise InputError(f"--input {path}: holds complex numbers; the model takes real ones")
        if values.dtype.kind not in NUMBERS:
            raise InputError(f"--input {path}: is no array of numbers: it holds {str(values.dtype)[:100]}")
        if values.ndim == 0:
            raise InputError(f"--input {path}: has shape []; a model takes a batch, [N, …]")
        _require_few(path, len(values))
        yield values


def _of_table(path: Path, columns: tuple[str, ...], workload: "Callable[[], Workload]") -> "Iterator[Any]":
    rows, maker = 0, workload()
    for table in _parquet(path, columns) if path.suffix == ".parquet" else _csv(path):
        features = _features(path, table, columns, rows)
        yield _inputs(path, features, maker)
        rows += len(features)
    if rows == 0:
        raise DataError(f"--input {path}: holds no row of features; give at least one sample")


def _inputs(path: Path, features: "pd.DataFrame", workload: "Workload") -> "NDArray[Any]":
    with told_as(lambda reason: DataError(f"--input {path}: {len(features.columns)} columns do not make the model's inputs: {reason}")):
        return workload.inputs(features).numpy()


def _reading(path: Path) -> told_as:
    return told_as(lambda reason: InputError(f"--input {path}: is no readable {path.suffix[1:]} table: {reason}"))


def _parquet(path: Path, columns: tuple[str, ...]) -> "Iterator[pd.DataFrame]":
    """Pieces of a Parquet file; of columns, types and rows its footer is asked before any of them is read."""
    from pyarrow import parquet

    with _reading(path), parquet.ParquetFile(path) as file:
        empty = file.schema_arrow.empty_table().to_pandas()
        _features(path, empty, columns, 0)
        _require_few(path, file.metadata.num_rows)
        for batch in file.iter_batches(TABLE_ROWS, columns=list(columns) or None):
            yield batch.to_pandas()


def _csv(path: Path) -> "Iterator[pd.DataFrame]":
    import pandas as pd

    with _reading(path):
        with path.open("rb") as stream:
            if len(stream.readline(LONGEST_HEADER_BYTES + 1)) > LONGEST_HEADER_BYTES:
                raise InputError(f"--input {path}: is no readable csv table: its first line is longer than {LONGEST_HEADER_BYTES:,} bytes")
        with pd.read_csv(path, chunksize=TABLE_ROWS) as pieces:
            for table in pieces:
                if not isinstance(table.index, pd.RangeIndex):
                    raise DataError(f"--input {path}: its rows hold more values than its first line names columns")
                if len(table):
                    yield table


def _features(path: Path, table: "pd.DataFrame", columns: tuple[str, ...], first: int) -> "pd.DataFrame":
    """The feature columns in the model's order, numbers without gaps; `first` is the row that the piece begins with."""
    names = list(columns or (name for name in table.columns if name != "label"))
    if missing := [name for name in names if name not in table.columns]:
        raise DataError(f"--input {path}: column {missing[0]!r} is missing ({len(missing)} of {len(names)} are); add it")
    if not names:
        raise DataError(f"--input {path}: holds no row of features; give at least one sample")
    if twice := sorted(str(name) for name in set(names) if list(table.columns).count(name) > 1):
        raise DataError(f"--input {path}: column {twice[0]!r} stands twice; keep one")
    if others := [name for name in names if table[name].dtype.kind not in NUMBERS]:
        raise DataError(f"--input {path}: column {others[0]!r} does not hold numbers; the model takes numbers only")
    if empty := [name for name in names if table[name].isna().any()]:
        row = first + int(table[empty[0]].isna().to_numpy().argmax())
        raise DataError(f"--input {path}: column {empty[0]!r} has no value in row {row}; fill it or drop the row")
    return table[names].reset_index(drop=True)
