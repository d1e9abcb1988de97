"""Inputs that nobody should give `slimline predict`: each must be refused in one line, nothing printed, in little memory.

    python benchmarks/faults/predict_inputs.py --seed 0

They go to an honest model of the bundled workload `tabular` (30 columns), in eager PyTorch and on ONNX Runtime. Memory is bounded by
the input's file and 64 MB beyond what an honest input takes.
"""

import argparse
import io
import os
import random
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.special
from honest_artifacts import WIDTH, WORKLOAD, make_all
from pyarrow import parquet
from tries import MEGABYTE, Try, all_tried, tried

import slimline.commands.predict
import slimline.loaders.eager
import slimline.loaders.onnxruntime

LOADED = (scipy.special, slimline.loaders.eager, slimline.loaders.onnxruntime, slimline.commands.predict)
"""What a fork need not import again."""
SPARE_BYTES = 64 * MEGABYTE
MODELS = ("plain-none", "onnxruntime")
FULL = Path("/dev/full")
SIZES = {"test_fraction": 0.2, "validation_fraction": 0.2, "calibration_samples": 60}
Write = Callable[[Path], object]


def predicted(model: Path, inputs: Path, output: Path | None = None) -> None:
    """`slimline predict`, in this very process; its answers go to `output`."""
    from slimline.cli import main

    if output:
        os.dup2(os.open(output, os.O_WRONLY), 1)
    sys.argv = ["slimline", "predict", str(model), "--input", str(inputs)]
    main()


def arrays(generator: random.Random) -> Iterator[tuple[str, Write]]:
    """`.npy` files: other types, other shapes, odd values, torn ones, and headers that claim what is not there."""
    rows = np.ones((3, WIDTH), np.float32)
    for dtype in ("complex64", "U3", "S3", "datetime64[s]", "timedelta64[s]", "object"):
        yield f"type {dtype}", lambda path, dtype=dtype: np.save(path, np.zeros((3, WIDTH)).astype(dtype))
    yield "a record", lambda path: np.save(path, np.zeros(3, [("a", "f4"), ("b", "i4")]))
    for shape in ((), (0,), (0, WIDTH), (WIDTH,), (3, WIDTH - 1), (3, WIDTH + 1), (3, WIDTH, 1), (1, 3, WIDTH), (3, 0), (2,) * 16):
        yield f"shape {shape}", lambda path, shape=shape: np.save(path, np.ones(shape, np.float32))
    for value in (np.nan, np.inf, -np.inf, 1e300):
        where = generator.randrange(3), generator.randrange(WIDTH)
        yield f"value {value}", lambda path, value=value, where=where: np.save(path, _with(rows.astype(float), where, value))
    data = _saved(rows)
    for size in sorted(generator.sample(range(len(data)), 12)):
        yield f"cut to {size} bytes", lambda path, size=size: path.write_bytes(data[:size])
    for claim in ((1 << 40, WIDTH), (1 << 28, WIDTH), (4, WIDTH), (-1, WIDTH), (1 << 70, WIDTH)):
        yield f"claims {claim}", lambda path, claim=claim: path.write_bytes(_headed(f"{claim!r}") + rows.tobytes())
    yield "ten gigabytes of nothing", lambda path: _sparse(path, 90_000_000)
    for text in ("__import__('os')", "(" * 5000, "None", "'x'", "[1, 2]"):
        yield f"header {text[:20]}", lambda path, text=text: path.write_bytes(_headed(text) + rows.tobytes())
    yield "version 9", lambda path: path.write_bytes(data[:6] + b"\x09" + data[7:])
    yield "an archive", lambda path: path.write_bytes(_archive(rows))
    yield "text", lambda path: path.write_text("1 2 3\n")
    yield "a pickle", lambda path: path.write_bytes(b"\x80\x04\x95" + bytes(50))


def csvs(generator: random.Random, table: pd.DataFrame) -> Iterator[tuple[str, Write]]:
    """CSV files."""
    text = table.to_csv(index=False)
    names = list(table.columns)
    for name, data in {
        "empty": b"",
        "a header alone": text.splitlines()[0].encode() + b"\n",
        "blank lines": b"\n\n\n",
        "noise": bytes(generator.randrange(256) for _ in range(5000)),
        "NUL bytes": text.replace("1", "\0", 9).encode(),
        "UTF-16": text.encode("utf-16"),
        "Latin-1": text.replace("mean radius", "mean é").encode("latin-1"),
        "one value too many": "\n".join(line if not n else f"7,{line}" for n, line in enumerate(text.splitlines())).encode(),
        "ragged": text.encode() + b"1,2,3," + b"4," * 100 + b"\n",
        "an open quote": text.encode() + b'"',
        "a header of 9 MB": b"a," * 4_500_000 + b"\n1\n",
        "JSON": b'{"a": 1}',
    }.items():
        yield name, lambda path, data=data: path.write_bytes(data)
    for value in ("", "NaN", "large", "inf", "1e999", "1,5", "0x10", "2020-01-01", "1+2j", "9" * 400):
        row, name = generator.randrange(len(table)), generator.choice(names)
        yield (
            f"a value {value[:10]!r}",
            lambda path, value=value, row=row, name=name: _spoilt(table, row, name, value).to_csv(path, index=False),
        )
    yield "a column less", lambda path: table.drop(columns=names[generator.randrange(WIDTH)]).to_csv(path, index=False)


def parquets(generator: random.Random, table: pd.DataFrame) -> Iterator[tuple[str, Write]]:
    """Parquet files."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    data = buffer.getvalue()
    for size in sorted(generator.sample(range(len(data)), 8)):
        yield f"cut to {size} bytes", lambda path, size=size: path.write_bytes(data[:size])
    for _ in range(12):
        at, value = generator.randrange(len(data) - 4096, len(data)), generator.randrange(256)
        yield f"byte {at} is {value}", lambda path, at=at, value=value: path.write_bytes(data[:at] + bytes([value ^ 1]) + data[at + 1 :])
    yield "a footer of 2 GB", lambda path: path.write_bytes(data[:-8] + struct.pack("<I", 1 << 31) + b"PAR1")
    name = list(table.columns)[generator.randrange(WIDTH)]
    for kind, values in {
        "text": ["large"] * len(table),
        "lists": [[1.0]] * len(table),
        "mappings": [{"a": 1}] * len(table),
        "bytes": [b"x"] * len(table),
        "dates": pd.date_range("2020-01-01", periods=len(table)),
        "nothing": [None] * len(table),
        "gaps": [None, *[1.0] * (len(table) - 1)],
    }.items():
        yield f"a column of {kind}", lambda path, values=values: table.assign(**{name: values}).to_parquet(path, index=False)
    yield "no rows", lambda path: table.iloc[:0].to_parquet(path, index=False)
    yield "no columns", lambda path: parquet.write_table(pa.table({}), path)
    yield "a name twice", lambda path: parquet.write_table(pa.table([pa.array([1.0])] * (WIDTH + 1), names=[*table.columns, name]), path)
    yield "twenty million rows in some kB", lambda path: _rows(path, list(table.columns), 20_000_000)


def places(place: Path) -> Iterator[tuple[str, Path]]:
    """What is no file: folders, pipes, devices, loops, names that no system takes."""
    makes: dict[str, Callable[[Path], object]] = {
        "folder": Path.mkdir,
        "pipe": os.mkfifo,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "loop": lambda path: path.symlink_to(path.name),
        "nowhere": lambda path: path.symlink_to("none"),
    }
    for kind, make in makes.items():
        for ending in (".npy", ".csv", ".parquet"):
            make(place / f"{kind}{ending}")
            yield f"{kind} {ending}", place / f"{kind}{ending}"
    for name in ("none.npy", "none.pkl", "none", "x" * 5000 + ".npy", "\x01\x1b[2J.csv"):
        yield f"name {name[:12]!r}", place / name


def tries(place: Path, seed: int) -> Iterator[Try]:
    """Every try, on each model."""
    generator = random.Random(seed)
    table = WORKLOAD.splits(SIZES, 0)["test"].head(20).drop(columns="label")
    families = {"arrays": (".npy", arrays(generator)), "csv": (".csv", csvs(generator, table))}
    families["parquet"] = (".parquet", parquets(generator, table))
    inputs: list[tuple[str, str, Path]] = [("places", name, path) for name, path in places(place)]
    for family, (ending, writes) in families.items():
        for number, (name, write) in enumerate(writes):
            path = place / f"{family}-{number}{ending}"
            write(path)
            inputs.append((family, name, path))
    for artifact in MODELS:
        model = place / "honest" / artifact
        table.to_parquet(place / "good.parquet", index=False)
        spent = tried(Try("", "", partial(predicted, model, place / "good.parquet"), codes=(0,))).peak_bytes
        for family, name, path in inputs:
            size = 0 if family == "places" else path.stat().st_blocks * 512
            yield Try(
                family,
                f"{artifact}: {name}",
                partial(predicted, model, path),
                codes=(0, 2) if family == "parquet" and name.startswith("byte ") else (2,),
                memory_bytes=spent + size + SPARE_BYTES,
                keeps=(model, path) if family != "places" else (model,),
            )
        if FULL.exists():
            yield Try("disk", f"{artifact}: full", partial(predicted, model, place / "good.parquet", FULL), codes=(1,), said=("disk full",))


def _saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _archive(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=array)
    return stream.getvalue()


def _headed(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _sparse(path: Path, rows: int) -> None:
    """A file that is all hole, as large as its header says."""
    header = _headed(f"({rows}, {WIDTH})")
    path.write_bytes(header)
    os.truncate(path, len(header) + rows * WIDTH * 4)


def _with(rows: np.ndarray, where: tuple[int, int], value: float) -> np.ndarray:
    rows[where] = value
    return rows


def _spoilt(table: pd.DataFrame, row: int, name: str, value: str) -> pd.DataFrame:
    spoilt = table.astype(object)
    spoilt.loc[spoilt.index[row], name] = value
    return spoilt


def _rows(path: Path, names: list[str], rows: int) -> None:
    """Many equal rows, which Parquet stores as one and a count."""
    part = pa.table({name: pa.DictionaryArray.from_arrays(np.zeros(1_000_000, np.int8), [1.0]).cast(pa.float32()) for name in names})
    with parquet.ParquetWriter(path, part.schema) as writer:
        for _ in range(rows // len(part)):
            writer.write_table(part)


def main() -> None:
    """Make the honest models, try every input, print the table; exit code 1 if one was not refused as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="places,arrays,csv,parquet,disk", help="families, with commas between")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slimline-inputs-") as folder:
        place = Path(folder)
        (place / "honest").mkdir()
        make_all(place / "honest", MODELS[1:])
        wanted = arguments.only.split(",")
        chosen = (one for one in tries(place, arguments.seed) if one.family in wanted)
        sys.exit(all_tried(chosen, heading=f"Inputs of `slimline predict`, seed {arguments.seed}"))


if __name__ == "__main__":
    main()
