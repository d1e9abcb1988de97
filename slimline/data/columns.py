"""Typed columns: what a sample may be made of, how it stands in Arrow, and how it is read back.

Four kinds: numbers (and yes or no), text, arrays of numbers of any shape, and pictures as their encoded bytes. The types are those of
Hugging Face's `datasets`, whose `Dataset.from_file` reads the files too; its import is left out of every stage
(docs/decisions/0011-own-reader-of-arrow.md).
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from slimline.errors import DataError

Kind = Literal["number", "text", "array", "image"]
Rows = Mapping[str, Any]
"""Some samples, column by column: numbers as an array [N], text as a list, arrays as one array [N, …] where all have one shape (else a
list of them), pictures as a sequence of PIL images, each opened when it is asked for."""
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
FEATURES = b"huggingface"


def kind_of(name: str, kind: pa.DataType) -> Kind:
    """Which kind of column an Arrow type is.

    Raises:
        DataError: it is none of the four.
    """
    if kind == IMAGE:
        return "image"
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    inner = kind
    while pa.types.is_list(inner) or pa.types.is_large_list(inner) or pa.types.is_fixed_size_list(inner):
        inner = inner.value_type
    if inner is not kind and kind_of(name, inner) == "number":
        return "array"
    raise DataError(f"column {str(name)[:60]!r} holds {str(kind)[:60]}; a column holds numbers, text, arrays of numbers or pictures")


def arrow_schema(fields: Iterable[pa.Field]) -> pa.Schema:
    """Fields with the metadata by which `datasets` knows them."""
    fields = list(fields)
    described = {"info": {"features": {field.name: _feature(field) for field in fields}}}
    return pa.schema(fields, metadata={FEATURES: json.dumps(described).encode()})


def _feature(field: pa.Field) -> dict[str, Any]:
    kind = field.type
    if kind_of(field.name, kind) == "image":
        return {"_type": "Image"}
    return _value(kind)


def _value(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        return {"feature": _value(kind.value_type), "_type": "List"}
    names = {"double": "float64", "float": "float32", "halffloat": "float16"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}


def storable(value: Any) -> Any:
    """A cell as Arrow takes it: pictures encoded (PNG, where they are not yet), arrays as lists."""
    if hasattr(value, "save") and hasattr(value, "getbands"):
        return {"bytes": _encoded(value), "path": None}
    if isinstance(value, bytes):
        return {"bytes": value, "path": None}
    if isinstance(value, np.generic):
        return value.item()
    return value.tolist() if hasattr(value, "tolist") else value


def _encoded(picture: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


def read_rows(batch: pa.RecordBatch) -> dict[str, Any]:
    """The columns of some rows as `Rows`."""
    return {field.name: _read(field, batch.column(position)) for position, field in enumerate(batch.schema)}


def _read(field: pa.Field, values: pa.Array) -> Any:
    kind = kind_of(field.name, field.type)
    if kind == "number":
        return np.array(values.to_numpy(zero_copy_only=False))
    if kind == "text":
        return values.to_pylist()
    if kind == "array":
        return _arrays(values)
    return Encoded(values.field("bytes").to_pylist())


class Encoded(Sequence[Any]):
    """Pictures that are opened when, and each time that, they are asked for: what nobody looks at costs nothing, and none is held."""

    def __init__(self, encoded: Sequence[bytes | None]) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, place: Any) -> Any:
        return Encoded(self.encoded[place]) if isinstance(place, slice) else opened(self.encoded[place])


def opened(encoded: bytes | None) -> Any:
    """A picture from its encoded bytes.

    Raises:
        DataError: they are none that Pillow can read, or missing.
    """
    if encoded is None:
        raise DataError("a picture is missing; give every row one, or leave the row out")
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(encoded))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"a picture of {len(encoded)} bytes cannot be read: {str(error)[:120]}") from error


def _arrays(values: pa.Array) -> NDArray[Any] | list[NDArray[Any]]:
    """Nested lists as one array [N, …] where all rows have one shape, else each as an array of its own."""
    shape, level, regular = [len(values)], values, True
    while pa.types.is_list(level.type):
        lengths = np.diff(level.offsets.to_numpy())
        regular = regular and len(set(lengths.tolist())) == 1
        shape.append(int(lengths[0]) if len(lengths) else 0)
        level = level.flatten()
    if regular:
        return np.array(level.to_numpy(zero_copy_only=False).reshape(shape))
    dtype = level.type.to_pandas_dtype()
    return [np.asarray(value.as_py(), dtype=dtype) for value in values]


def stacked(rows: Rows, names: Sequence[str], dtype: str = "float32") -> NDArray[Any]:
    """Columns of numbers side by side, [N, names]."""
    return np.stack([np.asarray(rows[name], dtype=dtype) for name in names], axis=1)
