"""The samples of a file as a model's inputs, piece by piece: NumPy arrays or a table, held to what it claims before memory is taken."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimline.artifact.arrays import read_arrays
from slimline.artifact.border import told_as
from slimline.artifact.signature import NUMBERS, Signature
from slimline.commands.sample_tables import READERS, inputs_of_table
from slimline.errors import DataError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slimline.workloads.guarded import Guarded

    Array = NDArray[Any]

ENDINGS = (".npz", ".npy", *READERS)
LONGEST_NAME = 100
"""Characters of a foreign name that are shown."""
PIECE_ROWS = 256
MOST_ROWS = 1_000_000
"""A file of some kB can claim as many rows as it likes."""


def samples(path: Path, signature: Signature, workload: "Callable[[], Guarded]") -> "Iterator[dict[str, Array]]":
    """The model's inputs by name, at most 256 samples at a time, in order; `workload` is asked for a table only.

    Raises:
        InputError: no such file, an unknown ending, not what its ending says, or the wrong inputs, shape or type.
        DataError: there is no sample, a value is missing or not finite, or a column is.
    """
    _require_file(path)
    first = 0
    for part in inputs_of_table(path, workload(), _require_few) if path.suffix in READERS else _of_arrays(path, signature):
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
        if not path.is_file():
            raise InputError(f"--input {path}: no such file" + (" (it is no regular one)" if path.exists() else ""))
        if path.suffix not in ENDINGS:
            raise InputError(f"--input {path}: ends with {path.suffix or 'nothing'!r}; give one of {', '.join(ENDINGS)}")


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
