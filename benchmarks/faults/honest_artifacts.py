"""Small artifacts of a bundled workload, as honest as they come, and the ways to alter one so that its checksums still fit."""

import json
import shutil
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tries import Try, tried

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.folder import checksums
from slimline.artifact.manifest import Architecture, Manifest, write_manifest
from slimline.artifact.signature import InputSignature, Signature
from slimline.artifact.variant import save_variant
from slimline.data.batch import take
from slimline.methods import get_method
from slimline.objectives.described import described
from slimline.params.section import Pack
from slimline.workloads import get_workload

WORKLOAD = get_workload("tabular")
WIDTH, CLASSES = 30, 2
SIGNATURE = Signature(inputs=(InputSignature(name=WORKLOAD.first_input, dtype="float32", shape=(WIDTH,)),))
STUDENT = Architecture(role="student", config={"widths": [8]})
TARGETS = ("eager", "onnxruntime", "openvino", "torchscript", "xla", "executorch")
PACKS: tuple[Pack, ...] = ("none", "sparse", "entropy")
IDENTITY: dict[str, Any] = {
    "variant": "small",
    "stage": "distill",
    "method": "scratch",
    "source": None,
    "lineage": ("small",),
    "signature": SIGNATURE,
    "objective": described(WORKLOAD.objective),
}
MANIFEST = "manifest.json"


def make_all(place: Path, targets: Iterable[str] = TARGETS) -> None:
    """A plain variant by each way of packing, `plain-none` …, one compiled for each of the targets, under its name, and batch.npy.

    Each is made in a process of its own: some compilers spoil others in one.
    """
    np.save(place / "batch.npy", np.random.default_rng(0).normal(size=(5, WIDTH)).astype(np.float32))
    makes = {"plain": make_plain} | {target: partial(make_compiled, target=target) for target in targets}
    for name, make in makes.items():
        made = tried(Try("honest", name, partial(make, place), codes=(0,), limit_s=600))
        if made.code != 0:
            sys.exit(f"{name}: the honest artifact could not be made: {made.text}")


def make_plain(place: Path) -> None:
    """The plain variant, packed each way."""
    for pack in PACKS:
        manifest = Manifest(workload="tabular", architecture=STUDENT, structure={}, seed=0, config={}, **IDENTITY)
        save_variant(place / f"plain-{pack}", _model(), manifest, WORKLOAD, pack=pack)


def make_compiled(place: Path, target: str) -> None:
    """The same model compiled for a target."""
    folder, is_eager = place / target, target == "eager"
    folder.mkdir()
    calibration = {WORKLOAD.first_input: torch.randn(16, WIDTH)}
    samples = {"example": take(calibration, slice(0, 2)), "calibration": calibration, "signature": SIGNATURE, "batch_sizes": (1, 4)}
    lowered = get_method("compile", target)(_model(), None, folder, **samples)
    manifest = CompiledManifest(
        workload="tabular",
        target=target,
        precision=lowered.precision,
        computes=lowered.computes,
        source_sha256="0" * 64,
        execution=lowered.execution,
        architecture=STUDENT if is_eager else None,
        structure={} if is_eager else None,
        files=checksums(folder),
        **IDENTITY,
    )
    write_manifest(folder, manifest)


def _model() -> nn.Module:
    torch.manual_seed(0)
    return WORKLOAD.build_student(dict(STUDENT.config)).eval()


def altered(source: Path, target: Path, alter: Callable[[Path], None], *, sealed: bool = True) -> Path:
    """A copy of an artifact with something altered, its checksums made to fit again where `sealed`."""
    shutil.copytree(source, target)
    alter(target)
    if sealed:
        say(target, files=checksums(target))
    return target


def said(folder: Path) -> dict[str, Any]:
    """What a folder's manifest says."""
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return found


def say(folder: Path, **facts: Any) -> None:
    """Let a folder's manifest say something else."""
    (folder / MANIFEST).write_text(json.dumps(said(folder) | facts), encoding="utf-8")
