"""Arrays by name in one .npz file, whatever the names are (`np.savez` keeps some for itself); no pickles, neither in nor out."""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENDING = ".npy"
LARGEST_BYTES = 4_000_000_000
LONGEST = 100
"""Characters of a foreign name that are shown."""


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]] | NDArray[Any]) -> None:
    """Store arrays by name; a single one has none, an empty text."""
    named = arrays if isinstance(arrays, Mapping) else {"": arrays}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, values in named.items():
            with archive.open(f"{name}{ENDING}", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(values), allow_pickle=False)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """What `write_arrays` or `np.savez` stored, in its order; what an array claims beyond its entry's end is refused before it is read.

    Raises:
        ValueError: an entry holds no plain array, or together they hold more than LARGEST_BYTES. A damaged archive raises others too.
    """
    with zipfile.ZipFile(path) as archive:
        if (total := sum(entry.file_size for entry in archive.infolist())) > LARGEST_BYTES:
            raise ValueError(f"it unpacks to {total:,} bytes, at most {LARGEST_BYTES:,} are read at once")
        return {entry.filename.removesuffix(ENDING): _read(archive, entry) for entry in archive.infolist()}


def read_outputs(path: Path) -> dict[str, NDArray[Any]] | NDArray[Any]:
    """The same; a single one without a name as itself."""
    found = read_arrays(path)
    return found[""] if list(found) == [""] else found


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize > entry.file_size:
        raise ValueError(f"entry {entry.filename[:LONGEST]!r} holds objects or less than it claims")
    with archive.open(entry) as file:
        values: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return values
