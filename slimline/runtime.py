"""Load a released, compiled or plain variant and predict: what an application imports.

    model = slimline.runtime.load("s3://slimline/releases/digits/aliases/latest.json")
    outputs = model.predict({"x": batch})

Each target's loader imports its own runtime: ONNX Runtime, OpenVINO and XLA models run without torch. No runtime phones home.
"""

import functools
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimline.artifact.border import told_as
from slimline.artifact.compiled import CompiledManifest, is_compiled, read_compiled
from slimline.artifact.generating import GENERATION, is_language
from slimline.artifact.manifest import Manifest, read_manifest
from slimline.errors import ArtifactError, InputError, WorkloadError
from slimline.loaders import Language
from slimline.model import Model
from slimline.targets import CODE_CARRYING
from slimline.workloads import BUNDLED, get_workload

if TYPE_CHECKING:
    from slimline.workloads.guarded import Guarded

_LOADERS = {
    "eager": "slimline.loaders.eager",
    "torchscript": "slimline.loaders.torchscript",
    "inductor": "slimline.loaders.inductor",
    "onnxruntime": "slimline.loaders.onnxruntime",
    "openvino": "slimline.loaders.openvino",
    "xla": "slimline.loaders.xla",
    "executorch": "slimline.loaders.executorch",
}
LONGEST_NAME = 100
"""Characters of a foreign name that are shown."""


def load(
    location: str | Path, *, threads: int = 1, workload: str | None = None, trust_code: bool = False, cache_folder: Path | None = None
) -> Model:
    """Load a model and verify the checksum of every file.

    `location` is the folder of a compiled variant, a release or a plain variant (which then runs in eager PyTorch), or the
    s3:// URL of a release or of an alias. An eager or a plain one is built by its workload: a bundled one by its name, any other only
    if `workload` says so (as params.yaml does: a name, or `path/to/file.py:ClassName`), for what an artifact names is never imported.
    What a language model reads of prompts is kept in memory, and with `cache_folder` on disk too (targets eager and onnxruntime).
    Files of some targets run code when they are loaded; they are refused unless `trust_code` says that they are your own.

    Raises:
        ArtifactError: a file is missing, altered or not listed, or the runtime cannot read it.
        InputError: the target's runtime is not installed, or its files carry code that nobody vouched for.
        WorkloadError: an eager model's workload is not bundled and nobody named it, or it cannot be made.
    """
    folder = fetched(str(location)) if str(location).startswith("s3://") else Path(location)
    if not is_compiled(folder):
        return _load_plain(folder, threads, workload, cache_folder)
    manifest = read_compiled(folder)
    if manifest.target in CODE_CARRYING and not trust_code:
        raise InputError(
            f"{folder}: a model for {manifest.target} runs code when it is loaded; pass trust_code=True (slimline predict --trust-code) "
            "only if you know who compiled it"
        )
    loader = _loader(folder, manifest)
    if manifest.target == "eager":
        return _load_eager(folder, manifest, threads, workload_of(manifest, workload), cache_folder)
    made_for = functools.partial(workload_of, manifest, workload)
    model = functools.partial(Model, manifest, manifest.signature, workload=made_for, folder=folder, cache_folder=cache_folder)
    with told_as(lambda reason: ArtifactError(f"{folder}: {loader.RUNTIME} cannot load {loader.GRAPH}: {reason}")):
        if GENERATION in manifest.files:
            return _of_language(model, loader.load_language(folder, manifest, threads))
        infer, execution = loader.load(folder, manifest, threads)
    return model(infer=infer, execution=execution)


def import_runtime(location: str | Path) -> None:
    """Import what `load` does for this folder, and load nothing; raises as it does."""
    folder = Path(location)
    if is_compiled(folder) and (manifest := read_compiled(folder)).target != "eager":
        _loader(folder, manifest)
    else:
        importlib.import_module(_LOADERS["eager"])


def workload_of(manifest: CompiledManifest | Manifest, named: str | None) -> "Guarded":
    """The workload that a model was made for: what the caller named, or a bundled one that the manifest names.

    Raises:
        WorkloadError: the manifest's is not bundled and nobody named one, or it cannot be made.
    """
    if named is None and manifest.workload not in BUNDLED:
        raise WorkloadError(
            f"workload: unknown {manifest.workload[:LONGEST_NAME]!r}: of what a model says, only bundled workloads are imported "
            f"({', '.join(sorted(BUNDLED))}); name your own: --workload path/to/file.py:ClassName (in Python: workload=…); "
            "arrays (.npy) need none but for eager models"
        )
    try:
        return get_workload(manifest.workload if named is None else named)
    except WorkloadError as error:
        raise WorkloadError(str(error).removeprefix("params.yaml: ")) from error


def fetched(url: str) -> Path:
    """A release in the user's cache folder, every byte of it verified; raises as slimline.storage.releases.fetch_release."""
    from slimline.storage.releases import fetch_release

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return fetch_release(url, cache / "slimline" / "releases")


def _loader(folder: Path, manifest: CompiledManifest) -> Any:
    try:
        return importlib.import_module(_LOADERS[manifest.target])
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("slimline", "torch"):
            raise
        made_with = "==".join([error.name, *filter(None, [manifest.versions.get(error.name)])])
        raise InputError(f"{folder}: runs on {error.name}, which is not installed; pip install {made_with}") from None


def _load_plain(folder: Path, threads: int, named: str | None, cache_folder: Path | None) -> Model:
    manifest = read_manifest(folder)
    if manifest.signature is None:
        raise ArtifactError(f"{folder}: manifest.json lacks the signature of its inputs; make the variant again")
    return _load_eager(folder, manifest, threads, workload_of(manifest, named), cache_folder)


def _load_eager(folder: Path, manifest: CompiledManifest | Manifest, threads: int, workload: "Guarded", cache_folder: Path | None) -> Model:
    from slimline.loaders import eager

    architecture, structure, signature = manifest.architecture, manifest.structure, manifest.signature
    if architecture is None or structure is None or signature is None:
        raise ArtifactError(f"{folder}: manifest.json lacks architecture or structure, which an eager model needs; compile it again")
    model = functools.partial(Model, manifest, signature, workload=lambda: workload, folder=folder, cache_folder=cache_folder)
    made_of = (folder, workload, architecture, structure, manifest.packing, signature, threads)
    with told_as(lambda reason: ArtifactError(f"{folder}: {eager.RUNTIME} cannot load {eager.GRAPH}: {reason}")):
        if is_language(manifest.objective):
            return _of_language(model, eager.load_language(*made_of))
        infer, execution = eager.load_network(*made_of)
    return model(infer=infer, execution=execution)


def _of_language(model: Callable[..., Model], found: Language) -> Model:
    return model(infer=found.infer, execution=found.execution, generating=found.generating, vocabulary=found.vocabulary)
