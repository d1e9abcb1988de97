"""A loaded model: what it takes and gives, what runs it, and what its outputs mean. `slimline.runtime.load` makes it.

No runtime is imported here, and torch only where a question needs it.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from slimline.artifact.border import told_as
from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.folder import sha256_of
from slimline.artifact.generating import is_language, require_known
from slimline.artifact.json_file import read_json
from slimline.artifact.manifest import MANIFEST, Manifest
from slimline.artifact.signature import NUMBERS, Arrays, Signature
from slimline.errors import ArtifactError, InputError
from slimline.loaders import Array, Infer, MakeGenerator, Outputs
from slimline.workloads import Workload

if TYPE_CHECKING:
    from slimline.data.preprocessing import Preprocessing
    from slimline.generation import Generation, Generator, OnText, Prompt, Sampling
    from slimline.objectives import Objective
    from slimline.objectives.readings import Reading

PREPROCESSING = "preprocessing.json"


@dataclass(frozen=True)
class Model:
    """A loaded model: `signature` says what `predict` takes and gives; `execution` how the runtime was really configured."""

    manifest: CompiledManifest | Manifest
    signature: Signature
    infer: Infer = field(repr=False)
    workload: Callable[[], Workload] = field(repr=False)
    execution: dict[str, str]
    folder: Path = field(repr=False)
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
    def running(self) -> told_as:
        """What a runtime raises is told as an ArtifactError of this model."""
        return told_as(lambda reason: ArtifactError(f"{self.folder}: the model does not run as its manifest says: {reason}"))

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

    @functools.cached_property
    def pacing(self) -> "Generator":
        """The generator that is timed, loaded once: its answers end with their length alone, and nothing of a prompt is kept.

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


def _no_generator(manifest: CompiledManifest | Manifest) -> str:
    if not is_language(manifest.objective):
        return "is no language model, so it generates nothing; predict with it"
    target = manifest.target if isinstance(manifest, CompiledManifest) else "eager"
    return f"was compiled for {target}, which scores texts and does not generate; compile it for openvino, onnxruntime or eager"
