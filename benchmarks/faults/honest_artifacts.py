"""Small artifacts of a bundled workload, as honest as they come, and the ways to alter one so that its checksums still fit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.folder import checksums
from slimline.artifact.manifest import Architecture, Manifest, write_manifest
from slimline.artifact.variant import save_variant
from slimline.methods import get_method
from slimline.params.section import Pack
from slimline.workloads.tabular import Tabular

WORKLOAD = Tabular()
WIDTH, CLASSES = 30, len(WORKLOAD.labels)
STUDENT = Architecture(role="student", config={"widths": [8]})
TARGETS = ("eager", "onnxruntime", "openvino", "torchscript", "xla", "executorch")
PACKS: tuple[Pack, ...] = ("none", "sparse", "entropy")
IDENTITY: dict[str, Any] = {
    "variant": "small",
    "stage": "distill",
    "method": "scratch",
    "source": None,
    "lineage": ("small",),
}
MANIFEST = "manifest.json"


def make_all(place: Path, targets: tuple[str, ...] = TARGETS) -> None:
    """A plain variant by each way of packing, `plain-none` …, and one compiled for each of the targets, under its name."""
    torch.manual_seed(0)
    model = WORKLOAD.build_student(dict(STUDENT.config)).eval()
    for pack in PACKS:
        manifest = Manifest(workload="tabular", architecture=STUDENT, structure={}, seed=0, config={}, **IDENTITY)
        save_variant(place / f"plain-{pack}", model, manifest, WORKLOAD, pack=pack)
    for target in targets:
        folder = place / target
        folder.mkdir()
        lowered = get_method("compile", target)(
            model, None, folder, example_input=WORKLOAD.example_input(), calibration=torch.randn(16, WIDTH), batch_sizes=(1, 4)
        )
        is_eager = target == "eager"
        manifest = CompiledManifest(
            workload="tabular",
            target=target,
            precision=lowered.precision,
            computes=lowered.computes,
            labels=WORKLOAD.labels,
            input_shape=(WIDTH,),
            source_sha256="0" * 64,
            execution=lowered.execution,
            architecture=STUDENT if is_eager else None,
            structure={} if is_eager else None,
            files=checksums(folder),
            **IDENTITY,
        )
        write_manifest(folder, manifest)
    np.save(place / "batch.npy", np.random.default_rng(0).normal(size=(5, WIDTH)).astype(np.float32))


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
