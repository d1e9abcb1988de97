"""What stands in a request's JSON as a model's inputs: arrays by name, or raw samples through the release's own preprocessing."""

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimline.artifact.border import told_as
from slimline.artifact.signature import Signature
from slimline.data.preprocessing import Preprocessing, require_columns
from slimline.errors import DataError, InputError
from slimline.model import Model
from slimline.workloads.pictures import MOST_PIXELS

Arrays = dict[str, NDArray[Any]]
LONGEST = 100
"""Characters of what a client gave that are shown to it."""


@dataclass(frozen=True)
class Samples:
    """The checked inputs of a request, and the raw rows that they were made of: those of several requests are read together again."""

    arrays: Arrays
    rows: Mapping[str, Any] | None = None

    @property
    def count(self) -> int:
        """How many samples."""
        return len(next(iter(self.arrays.values())))

    @property
    def width(self) -> int:
        """How many numbers one sample has."""
        return sum(values[0].size for values in self.arrays.values())

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of one sample, input by input."""
        return tuple(values.shape[1:] for values in self.arrays.values())


def of_arrays(given: Mapping[str, Sequence[Any]], model: Model) -> Samples:
    """Nested lists by input.

    Raises:
        InputError: they are none that the model takes.
        DataError: a number is not finite.
    """
    found = {name: _array(name, values) for name, values in given.items()}
    return Samples(model.checked(found))


def of_rows(rows: Mapping[str, Any], preprocessing: Preprocessing, signature: Signature) -> Samples:
    """Columns of raw values.

    Raises:
        DataError: a value is none that the preprocessing reads.
    """
    with told_as(lambda reason: DataError(f"samples: {reason}")):
        return Samples(signature.checked(preprocessing(rows)), rows)


def rows_of(samples: Sequence[Any], preprocessing: Preprocessing) -> dict[str, list[Any]]:
    """Samples as columns: each an object of columns, or the value alone where there is one column; pictures opened.

    Raises:
        InputError: a sample is neither, or a value of another kind than its column.
        DataError: a column is missing, or a picture cannot be read.
    """
    names = preprocessing.columns
    found: dict[str, list[Any]] = {name: [] for name in names}
    for place, sample in enumerate(samples):
        row = {names[0]: sample} if len(names) == 1 and not isinstance(sample, Mapping) else sample
        if not isinstance(row, Mapping):
            raise InputError(f"samples.{place}: must be an object of the columns {', '.join(names)[:LONGEST]}")
        require_columns(preprocessing, list(row))
        for name in names:
            found[name].append(_value(row[name], name, place, preprocessing))
    return found


def _value(value: Any, name: str, place: int, preprocessing: Preprocessing) -> Any:
    where = f"samples.{place}.{name[:LONGEST]}"
    if preprocessing.kind == "pictures":
        return picture_of(value, where)
    if preprocessing.kind == "columns":
        if isinstance(value, dict | list):
            raise InputError(f"{where}: must be a number, a text, true, false or null")
        return value
    if not isinstance(value, str):
        raise InputError(f"{where}: must be a text")
    return value


def picture_of(given: Any, where: str) -> Any:
    """A picture from base64, or from a data: URL.

    Raises:
        InputError: it is no base64.
        DataError: what it holds is no picture, or one of too many pixels.
    """
    if not isinstance(given, str):
        raise InputError(f"{where}: must be a picture's bytes in base64")
    try:
        encoded = base64.b64decode(given.partition(",")[2] if given.startswith("data:") else given, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{where}: is no base64: {error}") from error
    return opened_picture(encoded, where)


def opened_picture(encoded: bytes, where: str) -> Any:
    """A picture from its bytes, unpacked.

    Raises:
        DataError: they are none, or unpack to too many pixels.
    """
    from PIL import Image, UnidentifiedImageError

    with told_as(lambda reason: DataError(f"{where}: is no readable picture: {reason}")):
        try:
            picture = Image.open(io.BytesIO(encoded))
        except UnidentifiedImageError:
            raise DataError(f"{where}: {len(encoded)} bytes that are no picture of a known format") from None
        if picture.width * picture.height > MOST_PIXELS:
            raise DataError(f"{where}: unpacks to {picture.width} x {picture.height} pixels, more than {MOST_PIXELS:,}; scale it down")
        picture.load()
        return picture


def _array(name: str, values: Sequence[Any]) -> NDArray[Any]:
    with told_as(lambda reason: InputError(f"inputs.{name[:LONGEST]}: is no array of numbers: {reason}")):
        return np.asarray(values)
