"""Weights stored in fewer bytes: sparse, or entropy-coded. Unpacked when loaded, so smaller to ship and not faster.

sparse   a float tensor of many zeros becomes `NAME` (its non-zero values in order) and `NAME:mask` (one bit a value, numpy's packbits)
entropy  every float tensor becomes `NAME:mask` and `NAME:planes` (the first bytes of all non-zero values, then the second ones, …:
         sign and exponent lie together and repeat), and the whole file is compressed by Zstandard (RFC 8878)

Both are safetensors files. Zeros come back as +0.0, every other value bit by bit.
"""

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import zstandard
from safetensors.torch import load, save
from torch import Tensor

from slimline.artifact.border import told_as
from slimline.artifact.manifest import Packing
from slimline.artifact.weight_header import FILES, LAYOUT, MASK, PLANES, Kind, read_header
from slimline.artifact.weights import WEIGHTS, plain_tensors, read_weights, write_weights
from slimline.errors import ArtifactError

if TYPE_CHECKING:
    from slimline.params.section import Pack

LEVEL = 19
FLOATS = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)}


def write_stored(folder: Path, tensors: Mapping[str, Tensor], pack: "Pack") -> Packing | None:
    """Write a variant's weights as `pack` asks; returns what the manifest has to know of it, None for plain weights."""
    if pack == "none":
        write_weights(folder / WEIGHTS, tensors)
        return None
    plain = plain_tensors(tensors)
    data = _packed(plain, planes=pack == "entropy")
    stored = zstandard.ZstdCompressor(level=LEVEL).compress(data) if pack == "entropy" else data
    (folder / FILES[pack]).write_bytes(stored)
    return Packing(kind=pack, stored_bytes=len(stored), unpacked_bytes=len(data), plain_bytes=len(save(plain)))


def read_stored(folder: Path, packing: Packing | None) -> dict[str, Tensor]:
    """The tensors that `write_stored` wrote.

    Raises:
        ArtifactError: the file is missing, damaged, or larger once unpacked than the manifest says.
    """
    if packing is None:
        return read_weights(folder / WEIGHTS)
    path = stored_path(folder, packing)
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file of {packing.kind} weights")
    with told_as(
        lambda reason: ArtifactError(f"{path}: is no whole file of {packing.kind} weights ({reason}); fetch or build the artifact again")
    ):
        data = path.read_bytes()
        return _unpacked(data if packing.kind == "sparse" else _decompressed(data, packing.unpacked_bytes))


def stored_path(folder: Path, packing: Packing | None) -> Path:
    """The one file of a folder that its weights are read from."""
    return folder / FILES["none" if packing is None else packing.kind]


def repack(folder: Path, packing: Packing) -> Packing | None:
    """Put packed weights in the place of a folder's plain ones.

    Raises:
        ArtifactError: the plain ones are missing or damaged.
    """
    tensors = read_weights(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    return write_stored(folder, tensors, packing.kind)


def _decompressed(data: bytes, size: int) -> bytes:
    """Unpack one Zstandard frame of exactly `size` bytes; what the frame says is looked at before memory is taken."""
    if (declared := zstandard.frame_content_size(data)) != size:
        raise ValueError(f"it unpacks to {declared:,} bytes, manifest.json says {size:,}")
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)


def _packed(tensors: Mapping[str, Tensor], *, planes: bool) -> bytes:
    chosen = {name: value for name, value in tensors.items() if value.is_floating_point() and (planes or _mask_saves(value))}
    stored = {name: value for name, value in tensors.items() if name not in chosen}
    for name, value in chosen.items():
        present = value != 0
        stored[name + MASK] = torch.from_numpy(np.packbits(present.flatten().numpy()))
        values = value[present]
        if planes:
            stored[name + PLANES] = values.view(torch.uint8).view(len(values), value.element_size()).T.contiguous()
        else:
            stored[name] = values
    layout = {name: {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)} for name, value in chosen.items()}
    return save(stored, metadata={LAYOUT: json.dumps(layout, sort_keys=True)})


def _mask_saves(value: Tensor) -> bool:
    zeros = value.numel() - int(torch.count_nonzero(value))
    return zeros * value.element_size() > math.ceil(value.numel() / 8)


def _unpacked(data: bytes) -> dict[str, Tensor]:
    stored = load(data)
    layout = read_header(io.BytesIO(data)).packed
    packed = {name: _dense(name, kind, stored) for name, kind in layout.items()}
    return packed | {name: value for name, value in stored.items() if name not in layout and not name.endswith((MASK, PLANES))}


def _dense(name: str, kind: Kind, stored: Mapping[str, Tensor]) -> Tensor:
    """One tensor from its mask, which the header holds to its shape, and values; nothing of its size is allocated before they fit.

    Raises:
        ValueError: they do not.
    """
    dtype, shape, bits = FLOATS[kind.dtype], kind.shape, stored[name + MASK]
    count = math.prod(shape)
    present = torch.from_numpy(np.unpackbits(bits.numpy(), count=count)).bool()
    values, expected = stored.get(name, stored.get(name + PLANES)), int(present.sum())
    planes = (torch.uint8, (dtype.itemsize, expected))
    if values is None or (values.dtype, tuple(values.shape)) not in ((dtype, (expected,)), planes):
        raise ValueError(f"{name} lacks the {expected} values that its mask announces")
    dense = torch.zeros(count, dtype=dtype)
    dense[present] = values if values.dtype == dtype else values.T.clone(memory_format=torch.contiguous_format).flatten().view(dtype)
    return dense.view(shape)
