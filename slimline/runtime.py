"""Load a released, compiled or plain variant and predict: what an application imports.

    model = slimline.runtime.load("s3://slimline/releases/digits/aliases/latest.json")
    outputs = model.predict({"x": batch})

Each target's loader imports its own runtime: ONNX Runtime, OpenVINO and XLA models run without torch. No runtime phones home.
"""

import functools
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimline.artifact.border import told_as
from slimline.artifact.compiled import CompiledManifest, is_compiled, read_compiled
from slimline.artifact.folder import sha256_of
from slimline.artifact.generating import GENERATION, is_language, require_known
from slimline.artifact.json_file import read_json
from slimline.artifact.manifest import MANIFEST, Manifest, read_manifest
from slimline.artifact.signature import NUMBERS, Arrays, Signature
from slimline.errors import ArtifactError, InputError, WorkloadError
from slimline.loaders import Array, Infer, MakeGenerator, Outputs
from slimline.targets import CODE_CARRYING
from slimline.workloads import BUNDLED, Workload, get_workload

if TYPE_CHECKING:
    from slimline.data.preprocessing import Preprocessing
    from slimline.generation import Generation, Generator, OnText, Prompt, Sampling
    from slimline.objectives import Objective
    from slimline.objectives.readings import Reading
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
PREPROCESSING = "preprocessing.json"
LONGEST_NAME = 100
"""Characters of a foreign name that are shown."""
RUNNING = told_as(lambda reason: ArtifactError(f"the model does not run as its manifest says: {reason}"))


@dataclass(frozen=True)
class Model:
    """A loaded model: `signature` says what `predict` takes and gives; `execution` how the runtime was really configured."""

    manifest: CompiledManifest | Manifest
    signature: Signature
    infer: Infer = field(repr=False)
    workload: Callable[[], Workload] = field(repr=False)
    execution: dict[str, str] = field(default_factory=dict)
    running: told_as = field(default=RUNNING, repr=False)
    folder: Path = field(default=Path(), repr=False)
    generating: MakeGenerator | None = field(default=None, repr=False)
    cache_folder: Path | None = None
    vocabulary: int | None = None
    """How many tokens a language model has; None of any other, and where it was compiled to score texts alone."""

    @functools.cached_property
    def preprocessing(self) -> "Preprocessing | None":
        """What makes inputs of raw samples (`predict(preprocessing(rows))`), where the model carries it; it needs no torch.

        Raises:
            ArtifactError: the file is damaged.
        """
        from slimline.data.preprocessing import preprocessing_of

        path = self.folder / PREPROCESSING
        if PREPROCESSING not in self.manifest.files:
            return None if isinstance(self.manifest, CompiledManifest) else getattr(self.workload(), "preprocessing", None)
        with told_as(lambda reason: ArtifactError(f"{path}: is no preprocessing: {reason}; build the artifact again")):
            return preprocessing_of(read_json(path))

    @functools.cached_property
    def reading(self) -> "Reading":
        """What its outputs say: answers, how sure it is of them, how they are shown; only an outsider's objective needs torch for it.

        Raises:
            ArtifactError: the manifest's settings are none of the objective's.
            WorkloadError: the objective is an outsider's own, and its workload was not named.
        """
        from slimline.objectives.readings import reading_of

        if (found := reading_of(self.manifest.objective)) is not None:
            return found
        from slimline.objectives.owned import Owned

        return Owned(self.objective)

    @functools.cached_property
    def objective(self) -> "Objective":
        """What its outputs mean; it imports torch, which predicting does not.

        Raises:
            ArtifactError: the manifest's settings are none of the objective's.
            WorkloadError: the objective is an outsider's own, and its workload was not named.
        """
        from slimline.objectives.described import is_known, objective_of

        if is_known(self.manifest.objective):
            return objective_of(self.manifest.objective)
        found: Objective = self.workload().objective
        return found

    @functools.cached_property
    def identity(self) -> str:
        """The sha256 of its manifest, which holds that of every file: caches know a model by it."""
        return sha256_of(self.folder / MANIFEST)

    @functools.cached_property
    def generator(self) -> "Generator":
        """What goes on from a prompt: the target's own engine, over the same weights.

        Raises:
            InputError: the model is none of language, or compiled for a target that does not generate.
            MachineError: the target's engine is not installed.
            ArtifactError: the model lacks its tokenizer, or the engine cannot load it.
        """
        from slimline.data.windows import Windows
        from slimline.generation.prompt_cache import PromptCache

        if self.generating is None:
            raise InputError(f"{self.folder}: {_no_generator(self.manifest)}")
        if not isinstance(self.preprocessing, Windows):
            raise ArtifactError(
                f"{self.folder}: has no {PREPROCESSING} with a tokenizer, without which no prompt is read; compile it again"
            )
        return self.generating(self.preprocessing, PromptCache(self.identity, self.cache_folder))

    def pacing(self) -> "Generator":
        """A generator to be timed: its answers end with their length alone, and nothing of a prompt is kept.

        Raises:
            InputError: as `generator` does.
        """
        from slimline.data.windows import Windows
        from slimline.generation.prompt_cache import PromptCache

        if self.generating is None or not isinstance(self.preprocessing, Windows):
            raise InputError(f"{self.folder}: {_no_generator(self.manifest)}")
        return self.generating(self.preprocessing.model_copy(update={"ends": ()}), PromptCache(self.identity, memory_bytes=0))

    def generate(self, prompt: "Prompt", sampling: "Sampling | None" = None, *, on_text: "OnText | None" = None) -> "Generation":
        """Go on from a prompt: a text, or the numbers of its tokens; see slimline.generation.Generator.

        Raises:
            InputError: the model generates nothing, or the prompt or the sampling is not what it takes.
        """
        from slimline.generation import Sampling

        return self.generator.generate(prompt, sampling or Sampling(), on_text=on_text)

    def predict(self, given: Arrays | Array) -> Outputs:
        """The outputs, one array [N, …] or several by name, of inputs by name; of one array where there is one input. N is at least 1.

        Raises:
            InputError, DataError: as `checked` does.
            ArtifactError: the runtime cannot run the graph, or it gives something else than the signature says.
        """
        return self.run(self.checked(given))

    def checked(self, given: Arrays | Array) -> dict[str, Array]:
        """Inputs as `run` takes them.

        Raises:
            InputError: an input is missing or unknown, has another shape or type, or holds a token that the model does not have.
            DataError: a number is not finite.
        """
        arrays = self.signature.checked(given)
        if self.vocabulary is not None:
            require_known(arrays, self.vocabulary)
        return arrays

    def run(self, arrays: Arrays) -> Outputs:
        """The same for inputs that are checked already: what a timing measures, the check being the caller's and equal for all models."""
        with self.running:
            outputs = self.infer(arrays)
            count = len(next(iter(arrays.values())))
            for values in outputs.values() if isinstance(outputs, dict) else (outputs,):
                if values.dtype.kind not in NUMBERS or values.ndim == 0 or len(values) != count:
                    raise TypeError(f"it gives {values.dtype} {list(values.shape)} for {count} samples")
            return outputs


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
    of_workload = functools.partial(workload_of, manifest, workload)
    with told_as(lambda reason: ArtifactError(f"{folder}: {loader.RUNTIME} cannot load {loader.GRAPH}: {reason}")):
        if GENERATION in manifest.files:
            found = loader.load_language(folder, manifest, threads)
            parts = (found.infer, of_workload, found.execution, _running(folder), folder, found.generating, cache_folder, found.vocabulary)
            return Model(manifest, manifest.signature, *parts)
        infer, execution = loader.load(folder, manifest, threads)
    return Model(manifest, manifest.signature, infer, of_workload, execution, _running(folder), folder)


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
    made_of = (folder, workload, architecture, structure, manifest.packing, signature, threads)
    with told_as(lambda reason: ArtifactError(f"{folder}: {eager.RUNTIME} cannot load {eager.GRAPH}: {reason}")):
        if is_language(manifest.objective):
            found = eager.load_language(*made_of)
            return Model(
                manifest,
                signature,
                found.infer,
                lambda: workload,
                found.execution,
                _running(folder),
                folder,
                found.generating,
                cache_folder,
                found.vocabulary,
            )
        infer, execution = eager.load_network(*made_of)
    return Model(manifest, signature, infer, lambda: workload, execution, _running(folder), folder)


def _no_generator(manifest: CompiledManifest | Manifest) -> str:
    if not is_language(manifest.objective):
        return "is no language model, so it generates nothing; predict with it"
    target = manifest.target if isinstance(manifest, CompiledManifest) else "eager"
    return f"was compiled for {target}, which scores texts and does not generate; compile it for openvino, onnxruntime or eager"


def _running(folder: Path) -> told_as:
    return told_as(lambda reason: ArtifactError(f"{folder}: the model does not run as its manifest says: {reason}"))
