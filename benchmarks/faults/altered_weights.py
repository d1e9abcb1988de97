"""Weights and architectures that lie: what an artifact's file says of itself, and what its manifest asks to be built."""

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard
from honest_artifacts import said, say
from safetensors.torch import load_file, save, save_file

WEIGHTS, PACKED, SPARSE = "weights.safetensors", "weights.safetensors.zst", "weights.sparse.safetensors"
GIGABYTE = 1_000_000_000
Alter = Callable[[Path], None]


def headers() -> Iterator[tuple[str, Alter]]:
    """Plain files of weights with a header that is none, lies, or asks for much."""
    texts = {
        "no tensors": b"{}",
        "no object": b"[]",
        "nested": b"[" * 100_000,
        "not UTF-8": b'{"\xff": 1}',
        "a key twice": b'{"a": {}, "a": {}}',
        "not a number": b'{"a": NaN}',
        "an entry that is none": b'{"a": 7}',
        "many small values": b'{"a": [' + b"[]," * 3_000_000 + b"[]]}",
    }
    for name, text in texts.items():
        yield f"header: {name}", lambda folder, text=text: _written(folder, struct.pack("<Q", len(text)) + text)
    for length in (0, 1, 1 << 31, (1 << 64) - 1):
        yield f"header of {length} bytes", lambda folder, length=length: _written(folder, struct.pack("<Q", length) + b"{}")
    for name, change in ENTRIES.items():
        yield f"entry: {name}", lambda folder, change=change: _rewrite_header(folder, change)


ENTRIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a shape below 0": lambda entry: entry.update(shape=[-1, *entry["shape"][1:]]),
    "a huge shape": lambda entry: entry.update(shape=[1 << 40, 1 << 40]),
    "a shape of text": lambda entry: entry.update(shape="many"),
    "complex": lambda entry: entry.update(dtype="C64"),
    "a type that is none": lambda entry: entry.update(dtype="F1000"),
    "offsets beyond the end": lambda entry: entry.update(data_offsets=[0, 1 << 50]),
    "offsets backwards": lambda entry: entry.update(data_offsets=[8, 0]),
    "no offsets": lambda entry: entry.pop("data_offsets"),
}


def tensors() -> Iterator[tuple[str, Alter]]:
    """Plain files of weights that are whole, with tensors that are not the model's."""
    for dtype in (torch.complex64, torch.int64, torch.int8, torch.bool, torch.uint8):
        yield f"all {dtype}", lambda folder, dtype=dtype: _remade(folder, lambda found: {n: v.to(dtype) for n, v in found.items()})
    yield "one missing", lambda folder: _remade(folder, lambda found: dict(list(found.items())[1:]))
    yield "one more", lambda folder: _remade(folder, lambda found: found | {"more": torch.ones(3)})
    yield "renamed", lambda folder: _remade(folder, lambda found: {f"x.{name}": value for name, value in found.items()})
    yield "none", lambda folder: _remade(folder, lambda _: {})
    yield "of another rank", lambda folder: _remade(folder, lambda found: {n: v[None].contiguous() for n, v in found.items()})
    yield "other values' names", lambda folder: (folder / WEIGHTS).rename(folder / "weights.bin")
    yield "a zip", lambda folder: (folder / WEIGHTS).write_bytes(b"PK\x03\x04" + bytes(100))
    yield "a pickle", lambda folder: (folder / WEIGHTS).write_bytes(b"\x80\x04\x95" + bytes(100))


def hungry_plain() -> Iterator[tuple[str, Alter]]:
    """Plain variants whose manifest asks for much more memory than their files hold."""
    for widths in ([30_000, 30_000], [50_000] * 3, [10**9], [10**30], [1] * 200_000, [8] * 50_000):
        yield f"student of {str(widths)[:30]}", lambda folder, widths=widths: _asked(folder, {"widths": widths})
    linear = {"type": "Linear", "in_features": 50_000, "out_features": 50_000, "bias": True}
    small = {"type": "Linear", "in_features": 30, "out_features": 8, "bias": True}
    recurrent = {"type": "LSTM", "input_size": 8, "hidden_size": 8, "num_layers": 10**9, "bias": True, "batch_first": True}
    recurrent |= {"dropout": 0.0, "bidirectional": False, "proj_size": 0}
    idle = {"type": "Sequential", "children": {str(number): {"type": "Identity"} for number in range(40_000)}}
    yield "a layer of 10 GB", lambda folder: say(folder, structure={"0": linear})
    hidden = {"0": {"type": "Sequential", "children": {"0": linear}}, "0.0": small}
    yield "a layer of 10 GB that another edit replaces", lambda folder: say(folder, structure=hidden)
    yield "a billion recurrent layers", lambda folder: say(folder, structure={"0": recurrent})
    yield "40,000 idle layers", lambda folder: say(folder, structure={"0": idle})
    yield "no header and a student of 3.6 GB", _unheaded


def hungry_packed() -> Iterator[tuple[str, Alter]]:
    """Packed variants that unpack to more than they should."""
    for size in (3 * GIGABYTE, 1 << 60):
        yield f"a frame of {size:,} bytes as the manifest says", lambda folder, size=size: _bomb(folder, size)
    yield "zeros that fit a student of 3.6 GB", _zeros
    yield "a frame that hides its size", lambda folder: _framed(folder, write_content_size=False)
    yield "two frames", lambda folder: (folder / PACKED).write_bytes((folder / PACKED).read_bytes() * 2)
    yield "a plain file beside a frame of 3 GB", _hidden


def hungry_sparse() -> Iterator[tuple[str, Alter]]:
    """Sparse variants whose masks stand for much more than there is."""
    for shape in ([30_000, 30_000], [1 << 40], [-8, -8]):
        yield f"a layout of {shape}", lambda folder, shape=shape: _layout(folder, shape)


def _written(folder: Path, data: bytes) -> None:
    (folder / WEIGHTS).write_bytes(data)


def _rewrite_header(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header[min(name for name in header if name != "__metadata__")])
    text = json.dumps(header).encode()
    _written(folder, struct.pack("<Q", len(text)) + text + data[8 + length :])


def _remade(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)


def _asked(folder: Path, config: dict[str, Any]) -> None:
    say(folder, architecture={"role": "student", "config": config})


def _unheaded(folder: Path) -> None:
    _asked(folder, {"widths": [30_000, 30_000]})
    _written(folder, struct.pack("<Q", 2) + b"{}")


def _packing(folder: Path, unpacked_bytes: int) -> None:
    say(folder, packing=said(folder)["packing"] | {"unpacked_bytes": unpacked_bytes})


def _bomb(folder: Path, size: int) -> None:
    """A frame that says `size`; 3 GB of zeros are really there, in some 100 kB."""
    if size > 1 << 40:
        (folder / PACKED).write_bytes(b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + bytes(16))
    else:
        _stream(folder, [b""], size)
    _packing(folder, size)


def _hidden(folder: Path) -> None:
    """The plain file fits the model; the packed one, which the manifest says is read, is the bomb."""
    shutil.copy(folder.parent.parent / "honest/plain-none" / WEIGHTS, folder / WEIGHTS)
    _bomb(folder, 3 * GIGABYTE)


def _stream(folder: Path, parts: list[bytes], size: int) -> None:
    """A frame of the parts and then zeros, `size` bytes in all, made in little memory."""
    with (folder / PACKED).open("wb") as stream, zstandard.ZstdCompressor().stream_writer(stream, size=size) as writer:
        left = size
        for part in parts:
            left -= writer.write(part)
        while left > 0:
            left -= writer.write(bytes(min(left, 1 << 22)))


def _zeros(folder: Path) -> None:
    """Everything fits: a student of 3.6 GB, and weights of zeros for it, in a small file."""
    sizes = [(30_000, 30), (30_000, 30_000), (2, 30_000)]
    layout, entries, at = {}, {}, 0
    for index, (rows, columns) in enumerate(sizes):
        name = f"{index}.weight"
        layout[name] = {"dtype": "float32", "shape": [rows, columns]}
        count = -(-rows * columns // 8)
        for suffix, shape, bytes_ in ((":mask", [count], count), (":planes", [4, 0], 0)):
            entries[name + suffix] = {"dtype": "U8", "shape": shape, "data_offsets": [at, at + bytes_]}
            at += bytes_
    text = json.dumps({"__metadata__": {"layout": json.dumps(layout)}, **entries}).encode()
    size = 8 + len(text) + at
    _stream(folder, [struct.pack("<Q", len(text)), text], size)
    _packing(folder, size)
    _asked(folder, {"widths": [30_000, 30_000]})


def _framed(folder: Path, **options: Any) -> None:
    data = zstandard.ZstdDecompressor().decompress((folder / PACKED).read_bytes())
    (folder / PACKED).write_bytes(zstandard.ZstdCompressor(**options).compress(data))


def _layout(folder: Path, shape: list[int]) -> None:
    mask = torch.from_numpy(np.packbits(np.ones(16, bool)))
    stored = {"0.weight": torch.ones(16), "0.weight:mask": mask}
    layout = json.dumps({"0.weight": {"dtype": "float32", "shape": shape}})
    (folder / SPARSE).write_bytes(save(stored, metadata={"layout": layout}))
