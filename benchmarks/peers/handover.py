"""What a tool is given of a project whose line has run, and how what it made becomes a compiled variant that the line can load."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimline.artifact.arrays import write_arrays
from slimline.artifact.compiled import CompiledManifest, read_compiled
from slimline.artifact.folder import checksums
from slimline.artifact.manifest import write_manifest
from slimline.data.batch import as_arrays
from slimline.data.prepared import load_batch, load_split
from slimline.data.samples import head
from slimline.params import TEACHER
from slimline.stage import Stage

PROJECT = Path(__file__).resolve().parents[2]
COMPILED = Path("data/compiled")
VALIDATION = 1000
"""So many validation samples at most are handed to a tool that judges itself."""
BATCH_SIZES = (1, 32)
KEPT_PRECISION = "as the tool made it"
PRECISIONS = ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION")
"""OpenVINO's default for both is bfloat16 where the CPU has it; the teacher's are float32."""
GRAPHS = frozenset({"model.onnx", "model.onnx.data", "model.xml", "model.bin", "openvino_model.xml", "openvino_model.bin", "model.pt2"})
"""What of a compiled folder is the graph and its weights; the rest is kept beside another graph."""


@dataclass(frozen=True)
class Made:
    """What a tool made, packed: batch size -> its folder, one for all where the graph takes any."""

    variant: str
    target: str
    folders: Mapping[int, Path]

    @property
    def folder(self) -> Path:
        """That of batch size 1."""
        return self.folders[1]


def write_handover(stage: Stage, folder: Path) -> None:
    """The teacher's graph, calibration and validation samples and the facts, from the project that this process is in."""
    params, manifest = stage.params, read_compiled(COMPILED / f"{TEACHER}-onnxruntime")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(COMPILED / f"{TEACHER}-onnxruntime/model.onnx", folder / "teacher.onnx")
    write_arrays(folder / "calibration.npz", as_arrays(load_batch(stage.workload.samples, "calibration", params.calibrate.samples)))
    write_arrays(folder / "validation.npz", as_arrays(head(load_split(stage.workload.samples, "validation"), VALIDATION).inputs))
    relative = params.gate.max_drop is None
    facts: dict[str, Any] = {
        "project": str(Path.cwd()),
        "library": str(PROJECT),
        "metric": stage.metric,
        "max_drop": params.gate.max_relative_drop if relative else params.gate.max_drop,
        "relative": relative,
        "seed": params.seed,
        "batch_sizes": BATCH_SIZES,
        "inputs": list(manifest.signature.names),
        "outputs": list(manifest.signature.outputs) or ["output"],
        "epochs": max(1, params.teacher.epochs // 2),
        "learning_rate": params.teacher.learning_rate,
        "training_batch": params.teacher.batch_size,
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def packed(name: str, target: str, out: Path) -> Made:
    """What a tool wrote into `out`, as compiled variants beside the line's own: its graph under the manifest of the teacher's.

    Raises:
        FileNotFoundError: the tool wrote no graph.
    """
    if target == "inductor":
        return Made(
            name, target, {size: _pack(name, target, f"-{size}", {"model.pt2": out / f"batch{size}/model.pt2"}) for size in BATCH_SIZES}
        )
    if target == "openvino" and not [*out.glob("*model.xml")]:
        _convert(out)
    folder = _pack(name, target, "", {path.name: path for path in out.iterdir() if path.name in GRAPHS and _reads(target, path)})
    return Made(name, target, dict.fromkeys(BATCH_SIZES, folder))


def _reads(target: str, graph: Path) -> bool:
    return ("onnx" in graph.name) == (target == "onnxruntime")


def _pack(name: str, target: str, suffix: str, files: Mapping[str, Path]) -> Path:
    base = COMPILED / f"{TEACHER}-{target}"
    folder, known = COMPILED / f"{name}{suffix}-{target}", read_compiled(base)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for kept in [one for one in known.files if one not in GRAPHS]:
        shutil.copyfile(base / kept, folder / kept)
    for graph, path in files.items():
        shutil.copyfile(path, folder / graph)
    execution = {name: "bf16" if name in PRECISIONS else value for name, value in known.execution.items()}
    told = {"variant": name, "method": name, "stage": "peer", "precision": KEPT_PRECISION, "computes": KEPT_PRECISION}
    manifest = known.model_dump() | told | {"execution": execution, "files": checksums(folder), "parity": None}
    write_manifest(folder, CompiledManifest.model_validate(manifest))
    return folder


def _convert(out: Path) -> None:
    """An ONNX graph as OpenVINO IR, as OpenVINO's own converter makes it."""
    import openvino

    openvino.save_model(openvino.convert_model(out / "model.onnx"), out / "model.xml", compress_to_fp16=False)
