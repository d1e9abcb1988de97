"""What a variant's weights are called and which types and shapes they have, by the header of its file alone; torch is not imported.

A safetensors file begins with the length of its header (8 bytes, little-endian) and the header, JSON. Packed weights keep the types and
shapes that they unpack to in the header's metadata. https://huggingface.co/docs/safetensors
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import zstandard

from slimline.artifact.border import told_as
from slimline.artifact.json_file import parse_json
from slimline.errors import ArtifactError

LENGTH_BYTES, LONGEST_HEADER_BYTES = 8, 2_000_000
"""A tensor takes about 100 bytes of header; parsed JSON may take twenty times its own."""
WINDOW_BYTES = 1 << 23
"""What Zstandard looks back on at the level that weights are packed with."""
FRAME_HEADER_BYTES = 18
FILES = {"none": "weights.safetensors", "sparse": "weights.sparse.safetensors", "entropy": "weights.safetensors.zst"}
"""How weights are stored -> the file's name."""
LAYOUT = "layout"
"""The metadata's key under which JSON gives dtype and shape of each tensor that is packed."""
TIED = "tied"
"""The metadata's key under which JSON says which names share the tensor of another name: tied weights are stored once."""
FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
PICKLE_ENDINGS = frozenset({".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pt2", ".pth"})
MASK, PLANES = ":mask", ":planes"
DTYPES = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "I16": ("int16", 2),
    "I32": ("int32", 4),
    "I64": ("int64", 8),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F32": ("float32", 4),
    "F64": ("float64", 8),
    "C64": ("complex64", 8),
}
"""What safetensors calls a type -> torch's name and the bytes of a value; one that is not here fits no model."""


class Kind(NamedTuple):
    """Type (as torch calls it) and shape of one tensor."""

    dtype: str
    shape: tuple[int, ...]


class Header(NamedTuple):
    """What a safetensors file says of itself: the tensors that lie in it, what the packed ones unpack to, the bytes of it all, and which
    names share a tensor with another."""

    stored: Mapping[str, Kind]
    packed: Mapping[str, Kind]
    size_bytes: int
    tied: Mapping[str, str]

    @property
    def unpacked(self) -> dict[str, Kind]:
        """Tensor name -> type and shape as the model has it."""
        plain = {name: kind for name, kind in self.stored.items() if name not in self.packed and not name.endswith((MASK, PLANES))}
        return plain | dict(self.packed) | {name: plain[one] for name, one in self.tied.items()}


def stored_kinds(path: Path) -> dict[str, Kind]:
    """Tensor name -> type and shape once unpacked; what the header says is held to the bytes that there are.

    Raises:
        ArtifactError: the file is missing, cut short, or no file of weights.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file")
    header, size_bytes = _read(path)
    if header.size_bytes != size_bytes:
        accounted = f"its header accounts for {header.size_bytes:,} bytes, there are {size_bytes:,}"
        raise ArtifactError(f"{path}: is no whole safetensors file: {accounted}; it may be cut short, fetch it again")
    return header.unpacked


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape, whichever way a folder's weights are stored; nothing where there is no file with a whole header."""
    path = next((folder / name for name in FILES.values() if (folder / name).is_file()), None)
    try:
        return {} if path is None else {name: kind.shape for name, kind in _read(path)[0].unpacked.items()}
    except ArtifactError:
        return {}


def read_header(stream: BinaryIO) -> Header:
    """The header of a safetensors stream, each tensor's bytes and each mask held to its shape.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: it is none; `told_as` tells each.
    """
    length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
    if not 0 < length <= LONGEST_HEADER_BYTES:
        raise ValueError(f"a header of {length:,} bytes")
    entries = parse_json(stream.read(length))
    metadata = entries.pop("__metadata__", None) or {}
    layout, tied = (parse_json(metadata.get(key, "{}").encode()) for key in (LAYOUT, TIED))
    stored = {name: _stored_kind(name, entry) for name, entry in entries.items()}
    packed = {name: Kind(entry["dtype"], _shape(name, entry["shape"])) for name, entry in layout.items()}
    for name, kind in packed.items():
        mask = Kind("uint8", (math.ceil(math.prod(kind.shape) / 8),))
        if min(kind.shape, default=0) < 0 or stored.get(name + MASK) != mask:
            raise ValueError(f"the mask of {name} does not fit its shape {kind.shape}: {name}{MASK} is {stored.get(name + MASK)}")
    if wrong := [name for name, one in tied.items() if name in stored or one not in stored or one in packed]:
        raise ValueError(f"{wrong[0]} is said to share a tensor that is not there")
    end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    return Header(stored, packed, LENGTH_BYTES + length + end, tied)


def _stored_kind(name: str, entry: Mapping[str, Any]) -> Kind:
    dtype, item_bytes = DTYPES.get(entry["dtype"], (entry["dtype"], None))
    shape, (start, end) = _shape(name, entry["shape"]), entry["data_offsets"]
    if item_bytes is not None and end - start != math.prod(shape) * item_bytes:
        raise ValueError(f"{name} has {end - start:,} bytes for a shape {shape} of {dtype}")
    return Kind(dtype, shape)


def _shape(name: str, sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, list) or not all(type(size) is int for size in sizes):
        raise ValueError(f"{name} has no shape")
    return tuple(sizes)


def _read(path: Path) -> tuple[Header, int]:
    """A file's header, and how many plain bytes the file says it holds."""
    with (
        told_as(lambda reason: ArtifactError(f"{path}: is no whole safetensors file ({reason}); it may be cut short, fetch it again")),
        _opened(path) as (stream, size_bytes),
    ):
        return read_header(stream), size_bytes


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The stream of a file's plain bytes, and how many there are."""
    with path.open("rb") as stream:
        if path.suffix != ".zst":
            yield stream, path.stat().st_size
            return
        size_bytes = zstandard.frame_content_size(stream.read(FRAME_HEADER_BYTES))
        stream.seek(0)
        with zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES).stream_reader(stream) as reader:
            yield reader, size_bytes
