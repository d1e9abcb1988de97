"""Load a released, compiled or plain variant and predict: what an application imports.

    model = slimline.runtime.load("s3://slimline/releases/digits/aliases/latest.json")
    logits = model.predict(batch)

ONNX Runtime and OpenVINO models run without torch; only `eager` ones import it. No runtime phones home.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slimline.artifact.compiled import CompiledManifest, is_compiled, read_compiled
from slimline.artifact.manifest import Architecture, Manifest, read_manifest
from slimline.errors import ArtifactError, InputError
from slimline.methods.compile.telemetry import switch_off_telemetry
from slimline.params import Params
from slimline.workloads import Workload, get_workload, known_workloads

if TYPE_CHECKING:
    from torch import nn

Floats = NDArray[np.float32]
Infer = Callable[[Floats], Floats]

_CAPABILITY = {"bf16": "BF16", "f16": "FP16"}


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


def load(location: str | Path, *, threads: int = 1, workload: str | None = None) -> Model:
    """Load a model and verify the checksum of every file.

    `location` is the folder of a compiled variant, a release or a plain variant (which then runs in eager PyTorch), or the
    s3:// URL of a release or of an alias. `workload` (as written in params.yaml) is only needed for plain variants of a
    workload that is given as a file.

    Raises:
        ArtifactError: a file is missing, altered or not listed, or the runtime cannot read it.
        InputError: the target's runtime is not installed.
        WorkloadError: an eager model's workload is unknown.
    """
    folder = _fetched(str(location)) if str(location).startswith("s3://") else Path(location)
    if not is_compiled(folder):
        return _load_plain(folder, threads, workload)
    manifest = read_compiled(folder)
    try:
        infer, execution = _LOADERS[manifest.target](folder, manifest, threads)
    except ModuleNotFoundError as error:
        if error.name != manifest.target:
            raise
        made_with = "==".join([error.name, *filter(None, [manifest.versions.get(error.name)])])
        raise InputError(f"{folder}: runs on {error.name}, which is not installed; pip install {made_with}") from None
    return Model(manifest, manifest.labels, manifest.input_shape, infer, execution)


def _fetched(url: str) -> Path:
    from slimline.storage.releases import fetch_release

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return fetch_release(url, cache / "slimline" / "releases")


def _load_plain(folder: Path, threads: int, workload_name: str | None) -> Model:
    manifest = read_manifest(folder)
    workload = get_workload(workload_name) if workload_name else workload_of(manifest)
    network = _network(folder, workload, manifest.architecture, manifest.structure)
    shape = tuple(workload.example_input().shape[1:])
    infer, execution = _eager_infer(network, threads)
    return Model(manifest, workload.labels, shape, infer, execution)


def workload_of(manifest: CompiledManifest | Manifest) -> Workload:
    """The workload that a model was made for. A plain variant knows its name only: where that is a file's, params.yaml says which.

    Raises:
        WorkloadError: it is unknown here.
    """
    known = manifest.workload in known_workloads() or ".py:" in manifest.workload
    return get_workload(manifest.workload if known or not Path("params.yaml").is_file() else Params.load().workload)


def _load_eager(folder: Path, manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    if manifest.architecture is None or manifest.structure is None:
        raise ArtifactError(f"{folder}: manifest.json lacks architecture or structure, which an eager model needs; compile it again")
    network = _network(folder, workload_of(manifest), manifest.architecture, manifest.structure)
    return _eager_infer(network, threads)


def _network(folder: Path, workload: Any, architecture: Architecture, structure: dict[str, dict[str, Any]]) -> "nn.Module":
    from slimline.artifact.structure import replay
    from slimline.artifact.variant import WEIGHTS, build_architecture, load_weights, read_weights

    weights = read_weights(folder / WEIGHTS)
    dtype = next((value.dtype for value in weights.values() if value.is_floating_point()), None)
    network = replay(build_architecture(workload, architecture), structure).to(dtype=dtype)
    load_weights(network, weights, folder / WEIGHTS)
    return network.eval().requires_grad_(False)


def _eager_infer(network: "nn.Module", threads: int) -> tuple[Infer, dict[str, str]]:
    import torch

    torch.set_num_threads(threads)
    dtype = next((value.dtype for value in network.parameters()), torch.float32)

    def infer(batch: Floats) -> Floats:
        with torch.inference_mode():
            outputs: Floats = network(torch.from_numpy(_writable(batch)).to(dtype)).float().numpy()
        return outputs

    return infer, {"threads": str(threads), "precision": str(dtype).removeprefix("torch.")}


def _writable(batch: Floats) -> Floats:
    """The batch itself, or a copy where it is no plain array that a runtime may share."""
    return np.require(batch, requirements=["C", "W"])


def _load_onnxruntime(folder: Path, manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    switch_off_telemetry()
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf, NotImplemented

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    for key, value in manifest.execution.items():
        options.add_session_config_entry(key, value)
    try:
        session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidGraph, InvalidProtobuf, NotImplemented) as error:
        raise ArtifactError(f"{folder}: onnxruntime {onnxruntime.__version__} cannot load model.onnx: {error}") from error
    name = session.get_inputs()[0].name

    def infer(batch: Floats) -> Floats:
        outputs: Floats = session.run(None, {name: batch})[0]
        return outputs

    return infer, {"threads": str(threads), **manifest.execution}


def _load_openvino(folder: Path, manifest: CompiledManifest, threads: int) -> tuple[Infer, dict[str, str]]:
    switch_off_telemetry()
    import openvino

    core = openvino.Core()
    config = {**manifest.execution, "INFERENCE_NUM_THREADS": str(threads)}
    wanted = config["INFERENCE_PRECISION_HINT"]
    if wanted != "f32" and _CAPABILITY[wanted] not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        config["INFERENCE_PRECISION_HINT"] = "f32"
    try:
        compiled = core.compile_model(folder / "model.xml", "CPU", config)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"{folder}: openvino {openvino.__version__} cannot load model.xml: {reason}") from error
    request = compiled.create_infer_request()

    def infer(batch: Floats) -> Floats:
        shared = _writable(batch)  # OpenVINO reads this very memory: it has to live until infer() is over
        request.set_input_tensor(openvino.Tensor(shared, shared_memory=True))
        request.infer(share_outputs=True)  # infer(batch) costs 25 us more a call, start_async() and wait() up to 90
        outputs: Floats = request.get_output_tensor(0).data.copy()
        return outputs

    return infer, config


_LOADERS: dict[str, Callable[[Path, CompiledManifest, int], tuple[Infer, dict[str, str]]]] = {
    "eager": _load_eager,
    "onnxruntime": _load_onnxruntime,
    "openvino": _load_openvino,
}
