"""What a variant's weights are called and which shapes they have, by the header of its file alone; torch is not imported.

A safetensors file begins with the length of its header (8 bytes, little-endian) and the header, JSON. Packed weights keep the shapes
that they unpack to in the header's metadata.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

LENGTH_BYTES, LONGEST_HEADER_BYTES = 8, 100_000_000
FILES = {"none": "weights.safetensors", "sparse": "weights.sparse.safetensors", "entropy": "weights.safetensors.zst"}
"""How weights are stored -> the file's name."""
LAYOUT = "layout"
"""The metadata's key under which JSON gives dtype and shape of each tensor that is packed."""


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape once unpacked; nothing where the file is missing or torn."""
    path = next((folder / name for name in FILES.values() if (folder / name).is_file()), None)
    if path is None:
        return {}
    try:
        with _opened(path) as stream:
            header = read_header(stream)
        layout = packed_layout(header)
        plain = {name: entry["shape"] for name, entry in header.items() if ":" not in name and name != "__metadata__"}
        return {name: tuple(shape) for name, shape in (plain | {name: entry["shape"] for name, entry in layout.items()}).items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError, zstandard.ZstdError):
        return {}


def read_header(stream: BinaryIO) -> dict[str, Any]:
    """The header of a safetensors stream.

    Raises:
        ValueError: it is too long, or no JSON object.
    """
    length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
    header = json.loads(stream.read(length)) if 0 < length < LONGEST_HEADER_BYTES else None
    if not isinstance(header, dict):
        raise ValueError("no header of a safetensors file")  # noqa: TRY004 - a torn file, not a wrong argument
    return header


def packed_layout(header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name -> {"dtype", "shape"} of the tensors that are packed."""
    layout: dict[str, dict[str, Any]] = json.loads(header.get("__metadata__", {}).get(LAYOUT, "{}"))
    return layout


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as stream:
        if path.suffix != ".zst":
            yield stream
        else:
            with zstandard.ZstdDecompressor().stream_reader(stream) as reader:
                yield reader
