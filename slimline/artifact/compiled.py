"""A compiled variant on disk: the graph of one runtime, and a manifest that says how it is to be run."""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from slimline.artifact.folder import sha256_of
from slimline.artifact.manifest import Architecture, Packing, manifest_json, parse_manifest, verify_files
from slimline.artifact.signature import Signature
from slimline.errors import ArtifactError
from slimline.targets import Target

RELEASE = "release.json"
RELEASE_PAPERS = frozenset({RELEASE, "MODEL_CARD.md", "report.html", "machine.json", "bom.cdx.json", "model.sig"})
"""What publishing lays beside a compiled variant."""
SETTINGS: dict[Target, dict[str, str]] = {
    "eager": {},
    "torchscript": {},
    "inductor": {"instruction_sets": r"[a-z0-9_ ]*"},
    "onnxruntime": {},
    "openvino": {
        "INFERENCE_PRECISION_HINT": "f32|bf16|f16",
        "KV_CACHE_PRECISION": "f32|bf16|f16|u8",
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": r"\d{1,6}",
    },
    "xla": {"batch_sizes": r"[1-9]\d{0,6}(,[1-9]\d{0,6}){0,15}"},
    "executorch": {"largest_batch": r"[1-9]\d{0,6}"},
}
"""Target -> every setting that a manifest's `execution` may hold, and what its value may be.

A runtime has others, which write files or load code; no compiler here sets them, so a manifest that does was made by someone else."""
NEEDED_SETTINGS = {
    "inductor": "instruction_sets",
    "openvino": "INFERENCE_PRECISION_HINT",
    "xla": "batch_sizes",
    "executorch": "largest_batch",
}
"""Target -> what its loader cannot do without, in the manifest's `execution`."""


class Answer(BaseModel):
    """The end of a prompt, and what both say after it, each in one line of bearable length."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(max_length=200)
    reference: str = Field(max_length=200)
    compiled: str = Field(max_length=200)


class Generations(BaseModel):
    """Greedy answers of the compiled model beside those of what it was compiled from, to the same prompts.

    `equal_share` is the share of places with the same token up to where they part, of all of the reference's; `parted_at` the place of the
    first other token in each answer, None where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: int
    tokens: int
    equal_share: float
    parted_at: tuple[int | None, ...]
    answers: tuple[Answer, ...] = ()


class Parity(BaseModel):
    """How far the compiled outputs lie from the model they were compiled from, on real samples.

    `reference` says what they were compared with; `tolerance` is the largest allowed `max_abs_difference` of any number
    (None where only agreement and SQNR are judged); `agreement` is the share of samples with the same answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: Literal["source", "simulation"]
    samples: int
    max_abs_difference: float
    tolerance: float | None
    agreement: float
    min_agreement: float
    sqnr_db: float | None
    min_sqnr_db: float | None
    generations: Generations | None = None
    """Of a language model on a target that generates."""


class CompiledManifest(BaseModel):
    """The identity of one variant on one target. Holds no clock, no path and no git commit: equal work gives equal bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    kind: Literal["compiled"] = "compiled"
    workload: str
    variant: str
    target: Target
    precision: str
    """Of the stored weights."""
    computes: str
    """Of the arithmetic, as far as the runtime tells."""
    stage: str
    method: str
    source: str | None
    lineage: tuple[str, ...]
    signature: Signature
    """What it takes and gives; the order of the inputs and outputs is that of the graph."""
    objective: dict[str, Any]
    """How its outputs are read (see slimline.objectives.described)."""
    source_sha256: str
    execution: dict[str, str] = Field(default_factory=dict)
    parity: Parity | None = None
    architecture: Architecture | None = None
    structure: dict[str, dict[str, Any]] | None = None
    packing: Packing | None = None
    files: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)


def is_compiled(folder: Path) -> bool:
    """Whether a folder's manifest.json is that of a compiled variant (else: that of a plain one).

    Raises:
        ArtifactError: no manifest.json, or an unreadable one.
    """
    manifest = manifest_json(folder)
    return isinstance(manifest, dict) and manifest.get("kind") == "compiled"


def read_compiled(folder: Path) -> CompiledManifest:
    """Read a compiled variant's manifest and check every file against it; a release's papers may lie beside them.

    Raises:
        ArtifactError: no manifest, an unreadable one, one that lacks a setting or has one that is not allowed, or a file that is missing,
            altered or not listed.
    """
    manifest = parse_manifest(folder, CompiledManifest, "the manifest of a compiled variant")
    _refuse_foreign_settings(folder, manifest)
    if (needed := NEEDED_SETTINGS.get(manifest.target)) and needed not in manifest.execution:
        raise ArtifactError(f"{folder}: manifest.json lacks execution.{needed}, which {manifest.target} needs; build the artifact again")
    papers = {name: sha256_of(folder / name) for name in RELEASE_PAPERS if (folder / RELEASE).is_file() and (folder / name).is_file()}
    verify_files(folder, manifest.files | papers)
    return manifest


def _refuse_foreign_settings(folder: Path, manifest: CompiledManifest) -> None:
    allowed = SETTINGS[manifest.target]
    for name, value in manifest.execution.items():
        if re.fullmatch(allowed.get(name, r"(?!)"), value) is None:
            known = ", ".join(allowed) or "none"
            raise ArtifactError(
                f"{folder}: manifest.json sets execution.{name}: {value!r}, which slimline never does for {manifest.target} "
                f"(settings: {known}); take the artifact from where it was made"
            )
