"""Load a released, compiled or plain variant and predict: what an application imports.

    model = slimline.runtime.load("s3://slimline/releases/digits/aliases/latest.json")
    logits = model.predict(batch)

Each target's loader imports its own runtime: ONNX Runtime, OpenVINO and XLA models run without torch. No runtime phones home.
"""

import importlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from slimline.artifact.compiled import CompiledManifest, is_compiled, read_compiled
from slimline.artifact.manifest import Manifest, read_manifest
from slimline.errors import InputError
from slimline.loaders import Floats, Infer
from slimline.params import Params
from slimline.params.sections import CODE_CARRYING
from slimline.workloads import Workload, get_workload, known_workloads

_LOADERS = {
    "eager": "slimline.loaders.eager",
    "torchscript": "slimline.loaders.torchscript",
    "inductor": "slimline.loaders.inductor",
    "onnxruntime": "slimline.loaders.onnxruntime",
    "openvino": "slimline.loaders.openvino",
    "xla": "slimline.loaders.xla",
    "executorch": "slimline.loaders.executorch",
}


@dataclass(frozen=True)
class Model:
    """A loaded model: `predict` gives logits; `execution` says how the runtime was really configured."""

    manifest: CompiledManifest | Manifest
    labels: tuple[str, ...]
    input_shape: tuple[int, ...]
    infer: Infer = field(repr=False)
    execution: dict[str, str] = field(default_factory=dict)

    def predict(self, batch: Floats) -> Floats:
        """Logits [N, classes] of a batch [N, …] of float32, N at least 1.

        Raises:
            InputError: the batch has another shape or type.
        """
        if batch.dtype != np.float32 or batch.shape[1:] != self.input_shape or len(batch) == 0:
            expected = ", ".join(str(size) for size in self.input_shape)
            raise InputError(f"input: is {batch.dtype} {list(batch.shape)}, the model takes float32 [N, {expected}] with N at least 1")
        return self.infer(batch)


def load(location: str | Path, *, threads: int = 1, workload: str | None = None, trust_code: bool = False) -> Model:
    """Load a model and verify the checksum of every file.

    `location` is the folder of a compiled variant, a release or a plain variant (which then runs in eager PyTorch), or the
    s3:// URL of a release or of an alias. `workload` (as written in params.yaml) is only needed for plain variants of a
    workload that is given as a file. Files of some targets run code when they are loaded; they are refused unless `trust_code`
    says that they are your own.

    Raises:
        ArtifactError: a file is missing, altered or not listed, or the runtime cannot read it.
        InputError: the target's runtime is not installed, or its files carry code that nobody vouched for.
        WorkloadError: an eager model's workload is unknown.
    """
    folder = _fetched(str(location)) if str(location).startswith("s3://") else Path(location)
    if not is_compiled(folder):
        return _load_plain(folder, threads, workload)
    manifest = read_compiled(folder)
    if manifest.target in CODE_CARRYING and not trust_code:
        raise InputError(
            f"{folder}: a model for {manifest.target} runs code when it is loaded; pass trust_code=True (slimline predict --trust-code) "
            "only if you know who compiled it"
        )
    try:
        loader = importlib.import_module(_LOADERS[manifest.target])
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("slimline", "torch"):
            raise
        made_with = "==".join([error.name, *filter(None, [manifest.versions.get(error.name)])])
        raise InputError(f"{folder}: runs on {error.name}, which is not installed; pip install {made_with}") from None
    needs = {"workload": workload_of(manifest)} if manifest.target == "eager" else {}
    infer, execution = loader.load(folder, manifest, threads, **needs)
    return Model(manifest, manifest.labels, manifest.input_shape, infer, execution)


def _fetched(url: str) -> Path:
    from slimline.storage.releases import fetch_release

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return fetch_release(url, cache / "slimline" / "releases")


def _load_plain(folder: Path, threads: int, workload_name: str | None) -> Model:
    from slimline.loaders.eager import load_network

    manifest = read_manifest(folder)
    workload = get_workload(workload_name) if workload_name else workload_of(manifest)
    infer, execution = load_network(folder, workload, manifest.architecture, manifest.structure, threads, manifest.packing)
    shape = tuple(workload.example_input().shape[1:])
    return Model(manifest, workload.labels, shape, infer, execution)


def workload_of(manifest: CompiledManifest | Manifest) -> Workload:
    """The workload that a model was made for. A plain variant knows its name only: where that is a file's, params.yaml says which.

    Raises:
        WorkloadError: it is unknown here.
    """
    known = manifest.workload in known_workloads() or ".py:" in manifest.workload
    return get_workload(manifest.workload if known or not Path("params.yaml").is_file() else Params.load().workload)
