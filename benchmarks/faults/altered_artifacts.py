"""Artifacts that somebody altered: each is loaded and asked for a prediction, and must be refused in one line, in little memory.

    python benchmarks/faults/altered_artifacts.py --seed 0            # all families, some minutes
    python benchmarks/faults/altered_artifacts.py --only weights,code

The checksums fit again after most alterations: who can alter a file can also alter its manifest. `code` counts as held only if nothing
of the artifact was imported. Memory is bounded by the artifact's files and 64 MB beyond what loading the honest one takes.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import altered_graphs
import altered_weights
import numpy as np
from honest_artifacts import MANIFEST, altered, make_all, said, say
from tries import MEGABYTE, Try, all_tried, tried

import slimline.loaders.eager
import slimline.loaders.onnxruntime
from slimline.runtime import load

ODD_VALUES: tuple[Any, ...] = (None, True, 7, -1, 10**400, 1.5, "", "x" * 20_000, "../../etc", [], [[]], {}, {"a": [1]}, ["\x00"])
EVIL = "from pathlib import Path\nPath({marker!r}).touch()\nfrom slimline.workloads.tabular import Tabular as Evil\n"
NAMES = ("evil.py:Evil", "./evil.py:Evil", "../{0}/evil.py:Evil", "{1}/evil.py:Evil", "evil:Evil", "os:system", "evil")
NEEDED = {
    "manifests": ("eager", "onnxruntime", "openvino", "xla"),
    "files": ("onnxruntime", "openvino"),
    "weights": ("eager",),
    "memory": (),
    "graphs": ("onnxruntime", "openvino", "torchscript", "xla", "executorch"),
    "code": ("eager", "onnxruntime"),
}
"""Family -> the targets that its tries alter an artifact of."""
LOADED = (slimline.loaders.eager, slimline.loaders.onnxruntime)
"""What a fork need not import again."""
SPARE_BYTES = 64 * MEGABYTE


def asked(folder: Path, **options: Any) -> None:
    """What an application does."""
    load(folder, trust_code=True, **options).predict(np.load(folder.parent.parent / "batch.npy"))


def manifests(generator: random.Random) -> Iterator[tuple[str, str, Callable[[Path], None]]]:
    """(artifact, name, alteration): manifests that are no JSON, no manifest, or full of odd values."""
    texts = {
        "empty": b"",
        "cut": b'{"kind": "compiled", ',
        "a list": b"[]",
        "not UTF-8": b'{"kind": "\xff"}',
        "UTF-16": '{"kind": "compiled"}'.encode("utf-16"),
        "nested": b'{"a":' * 100_000,
        "5 MB": b'{"a": [' + b"[]," * 1_700_000 + b"[]]}",
        "a key twice": b'{"kind": "compiled", "kind": "compiled"}',
        "a number without end": b'{"kind": ' + b"9" * 10_000 + b"}",
        "half a character": b'{"kind": "compiled", "workload": "\\ud800"}',
    }
    for artifact in ("plain-none", "onnxruntime"):
        for name, text in texts.items():
            yield artifact, name, lambda folder, text=text: (folder / MANIFEST).write_bytes(text)
    for artifact in ("plain-none", "plain-entropy", "eager", "onnxruntime", "openvino", "xla"):
        yield artifact, "not a number", lambda folder: _replace(folder, '"files"', '"odd": NaN, "files"')
        yield artifact, "a key more", lambda folder: say(folder, more=1)
        for key in sorted(KEYS):
            value = generator.choice([one for one in ODD_VALUES if not _fits(key, one)])
            yield artifact, f"{key}: {str(value)[:20]}", lambda folder, key=key, value=value: say(folder, **{key: value})
        for key in REQUIRED["plain" if artifact.startswith("plain") else "compiled"]:
            yield artifact, f"without {key}", lambda folder, key=key: _without(folder, key)


KEYS = ("files", "workload", "architecture", "structure", "signature", "objective", "execution", "target", "schema_version", "kind")
REQUIRED = {
    "plain": ("files", "workload", "architecture", "structure", "signature"),
    "compiled": ("files", "workload", "kind", "objective", "signature", "target"),
}


def _fits(key: str, value: Any) -> bool:
    """Whether an odd value may stand there: an artifact that says it is as good as before."""
    free = {"objective": ({}, {"a": [1]}), "structure": ({}, None), "architecture": ({}, None), "execution": ({},)}
    return (key == "workload" and isinstance(value, str)) or value in free.get(key, ()) or (key == "schema_version" and value is True)


def files() -> Iterator[tuple[str, str, Callable[[Path], None], bool]]:
    """(artifact, name, alteration, sealed): files that are missing, more, altered, or no files."""
    for artifact, name in (("plain-none", "weights.safetensors"), ("onnxruntime", "model.onnx"), ("openvino", "model.bin")):
        yield artifact, "missing", lambda folder, name=name: (folder / name).unlink(), False
        yield artifact, "one more", lambda folder: (folder / "more.so").write_bytes(b"\x7fELF"), False
        yield artifact, "a byte altered", lambda folder, name=name: _flip(folder / name), False
        yield artifact, "a folder", lambda folder, name=name: _instead(folder / name, lambda path: path.mkdir()), False
        yield artifact, "a pipe", lambda folder, name=name: _instead(folder / name, os.mkfifo), False
        yield artifact, "a device", lambda folder, name=name: _instead(folder / name, lambda path: path.symlink_to("/dev/zero")), False
        yield artifact, "a loop", lambda folder, name=name: _instead(folder / name, lambda path: path.symlink_to(path.name)), False
        yield artifact, "empty", lambda folder, name=name: (folder / name).write_bytes(b""), True
    for kind in ("folder", "pipe", "loop", "device"):
        make = {"folder": Path.mkdir, "pipe": os.mkfifo, "loop": lambda path: path.symlink_to(path.name)}
        make["device"] = lambda path: path.symlink_to("/dev/zero")
        yield "onnxruntime", f"manifest: a {kind}", partial(_instead_of_manifest, make=make[kind]), False


def code(place: Path) -> Iterator[Try]:
    """Artifacts that name code of their own, in every way, which must not be imported."""
    for artifact in ("plain-none", "eager", "onnxruntime"):
        for index, name in enumerate(NAMES):
            folder, marker = place / f"code-{artifact}-{index}", place / f"imported-{artifact}-{index}"
            altered(place / "honest" / artifact, folder, lambda folder, marker=marker: _bring(folder, marker))
            say(folder, workload=name.format(folder.name, folder))
            run = partial(_predict_table, folder)
            yield Try("code", f"{artifact}: {name}", run, cwd=folder, keeps=(marker, folder / "__pycache__"))


def _bring(folder: Path, marker: Path) -> None:
    (folder / "evil.py").write_text(EVIL.format(marker=str(marker)), encoding="utf-8")
    (folder / "params.yaml").write_text("workload: evil.py:Evil\n", encoding="utf-8")
    (folder / "table.csv").write_text(",".join(f"c{n}" for n in range(30)) + "\n" + ",".join("1" * 30) + "\n", encoding="utf-8")


def _predict_table(folder: Path) -> None:
    from slimline.cli import main

    sys.argv = ["slimline", "predict", str(folder), "--input", "table.csv"]
    main()


def _replace(folder: Path, old: str, new: str) -> None:
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    (folder / MANIFEST).write_text(text.replace(old, new, 1), encoding="utf-8")


def _without(folder: Path, key: str) -> None:
    (folder / MANIFEST).write_text(json.dumps({name: value for name, value in said(folder).items() if name != key}), encoding="utf-8")


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _instead(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def _instead_of_manifest(folder: Path, make: Callable[[Path], object]) -> None:
    _instead(folder / MANIFEST, make)


def alterations(generator: random.Random) -> Iterator[tuple[str, str, str, Callable[[Path], None], bool]]:
    """(family, artifact, name, alteration, sealed) of everything but `code`."""
    yield from (("manifests", artifact, name, alter, False) for artifact, name, alter in manifests(generator))
    yield from (("files", artifact, name, alter, sealed) for artifact, name, alter, sealed in files())
    yield from (("weights", "plain-none", name, alter, True) for name, alter in altered_weights.headers())
    for artifact in ("plain-none", "eager"):
        yield from (("weights", artifact, name, alter, True) for name, alter in altered_weights.tensors())
    yield from (("memory", "plain-none", name, alter, True) for name, alter in altered_weights.hungry_plain())
    yield from (("memory", "plain-entropy", name, alter, True) for name, alter in altered_weights.hungry_packed())
    yield from (("memory", "plain-sparse", name, alter, True) for name, alter in altered_weights.hungry_sparse())
    yield from (("graphs", target, name, alter, True) for target, name, alter in altered_graphs.spoilt())
    yield from (("graphs", "onnxruntime", name, alter, False) for name, alter in altered_graphs.facts())
    yield from (("graphs", "onnxruntime", name, alter, True) for name, alter in altered_graphs.onnx_graphs())


def tries(place: Path, seed: int, wanted: set[str]) -> Iterator[Try]:
    """Every try of the wanted families (none: all), each with its own copy of an artifact."""
    spent: dict[str, int] = {}
    for number, (family, artifact, name, alter, sealed) in enumerate(alterations(random.Random(seed))):
        if wanted and family not in wanted:
            continue
        honest = place / "honest" / artifact
        if artifact not in spent:
            spent[artifact] = tried(Try("", "", partial(asked, honest), codes=(0,))).peak_bytes
        folder = altered(honest, place / f"altered/{number}", alter, sealed=sealed)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        yield Try(family, f"{artifact}: {name}", partial(asked, folder), memory_bytes=spent[artifact] + size + SPARE_BYTES, keeps=(folder,))
    if not wanted or "code" in wanted:
        yield from code(place)


def main() -> None:
    """Make the honest artifacts, try every altered one, print the table; exit code 1 if one was not refused as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help=f"families, with commas between: {', '.join(NEEDED)}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slimline-altered-") as folder:
        place = Path(folder)
        (place / "altered").mkdir()
        (place / "honest").mkdir()
        wanted = {name for name in arguments.only.split(",") if name}
        targets = tuple(dict.fromkeys(target for family in wanted or NEEDED for target in NEEDED[family]))
        make_all(place / "honest", targets)
        (place / "batch.npy").write_bytes((place / "honest/batch.npy").read_bytes())
        sys.exit(all_tried(tries(place, arguments.seed, wanted), heading=f"Altered artifacts, seed {arguments.seed}"))


if __name__ == "__main__":
    main()
