"""The samples of a file as a model's inputs, piece by piece: NumPy arrays or a table, held to what it claims before memory is taken."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimline.artifact.arrays import read_arrays
from slimline.artifact.border import told_as
from slimline.artifact.signature import NUMBERS, Signature
from slimline.errors import DataError, InputError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from slimline.workloads import Workload

    Array = NDArray[Any]

TABLES = (".parquet", ".csv")
ENDINGS = (".npz", ".npy", *TABLES)
LONGEST_NAME = 100
"""Characters of a foreign name that are shown."""
PIECE_ROWS = 256
TABLE_ROWS = 16 * PIECE_ROWS
MOST_ROWS = 1_000_000
"""A file of some kB can claim as many rows as it likes."""
LONGEST_HEADER_BYTES = 1_000_000
"""Of a CSV file: a name in it takes a hundred bytes of memory."""


def samples(path: Path, signature: Signature, workload: "Callable[[], Workload]") -> "Iterator[dict[str, Array]]":
    """The model's inputs by name, at most 256 samples at a time, in order; `workload` is asked for a table only.

    Raises:
        InputError: no such file, an unknown ending, not what its ending says, or the wrong inputs, shape or type.
        DataError: there is no sample, a value is missing or not finite, or a column is.
    """
    _require_file(path)
    first = 0
    for part in _of_table(path, workload) if path.suffix in TABLES else _of_arrays(path, signature):
        count = max((len(values) for values in part.values()), default=0)
        for start in range(0, max(count, 1), PIECE_ROWS):
            piece = {name: values[start : start + PIECE_ROWS] for name, values in part.items()}
            try:
                yield signature.checked(piece, first + start)
            except (InputError, DataError) as error:
                raise type(error)(f"--input {path}: {error}") from error
        first += count
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


def _of_arrays(path: Path, signature: Signature) -> "Iterator[dict[str, Array]]":
    """Arrays by name, or the one array, mapped: what they claim beyond the file's end is refused, and nothing is read before that."""
    import numpy as np

    what = "NumPy's format" if path.suffix == ".npy" else "arrays in NumPy's .npz format"
    with told_as(lambda reason: InputError(f"--input {path}: is no array of numbers in {what}: {reason}")):
        if path.suffix == ".npz":
            found = read_arrays(path)
        elif len(signature.inputs) > 1:
            raise InputError(f"--input {path}: is one array, the model takes {signature.text}; give them by name in one .npz file")
        else:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            if not isinstance(values, np.ndarray):
                raise InputError(f"--input {path}: is no array of numbers in {what} but an archive of them; name it .npz")
            found = {signature.inputs[0].name: values}
        for name, values in found.items():
            if np.iscomplexobj(values):
                raise InputError(f"--input {path}: input {name[:LONGEST_NAME]!r} holds complex numbers; the model takes real ones")
            if values.dtype.kind not in NUMBERS:
                raise InputError(f"--input {path}: is no array of numbers: it holds {str(values.dtype)[:100]}")
            if values.ndim == 0:
                raise InputError(f"--input {path}: has shape []; a model takes a batch, [N, …]")
            _require_few(path, len(values))
        yield found


def _of_table(path: Path, workload: "Callable[[], Workload]") -> "Iterator[dict[str, Array]]":
    rows, maker = 0, workload()
    for table in _parquet(path) if path.suffix == ".parquet" else _csv(path):
        features = _features(path, table, rows)
        yield _inputs(path, features, maker)
        rows += len(features)
    if rows == 0:
        raise DataError(f"--input {path}: holds no row of features; give at least one sample")


def _inputs(path: Path, features: "pd.DataFrame", workload: "Workload") -> "dict[str, Array]":
    from slimline.data.batch import as_arrays

    with told_as(lambda reason: DataError(f"--input {path}: {len(features.columns)} columns do not make the model's inputs: {reason}")):
        return dict(as_arrays(workload.inputs({str(name): features[name].to_numpy() for name in features.columns})))


def _reading(path: Path) -> told_as:
    return told_as(lambda reason: InputError(f"--input {path}: is no readable {path.suffix[1:]} table: {reason}"))


def _parquet(path: Path) -> "Iterator[pd.DataFrame]":
    """Pieces of a Parquet file; of columns, types and rows its footer is asked before any of them is read."""
    from pyarrow import parquet

    with _reading(path), parquet.ParquetFile(path) as file:
        empty = file.schema_arrow.empty_table().to_pandas()
        _features(path, empty, 0)
        _require_few(path, file.metadata.num_rows)
        for batch in file.iter_batches(TABLE_ROWS):
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


def _features(path: Path, table: "pd.DataFrame", first: int) -> "pd.DataFrame":
    """The feature columns, numbers without gaps; `first` is the row that the piece begins with."""
    names = [name for name in table.columns if name != "label"]
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
