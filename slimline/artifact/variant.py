"""Save and load one variant: manifest.json, its weights, plain or packed, and where it is quantized its plan and stored grids."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from slimline.artifact.folder import checksums, whole_folder, write_json
from slimline.artifact.manifest import Architecture, Manifest, Packing, library_versions, read_json, read_manifest, write_manifest
from slimline.artifact.missed import require_made
from slimline.artifact.packed import read_stored, write_stored
from slimline.artifact.plain_weights import make_plain_
from slimline.artifact.structure import replay, structure_edits
from slimline.artifact.weight_header import weight_shapes
from slimline.artifact.weights import load_weights, read_weights, require_shapes, shapes_of, write_weights
from slimline.errors import ArtifactError
from slimline.params.section import Pack

PLAN, GRIDS = "quantization.json", "quantization.safetensors"
NO_GRIDS: Mapping[str, Tensor] = MappingProxyType({})


class Builds(Protocol):
    """The part of a workload that an artifact needs: its two architectures."""

    name: str

    def build_teacher(self) -> nn.Module:
        """The uncompressed architecture, untrained."""

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        """A smaller architecture, untrained."""


@dataclass(frozen=True)
class Variant:
    """A loaded variant: the float model, its identity, and where it is quantized its plan and the grids stored beside it."""

    model: nn.Module
    manifest: Manifest
    plan: dict[str, Any] | None = None
    grids: Mapping[str, Tensor] = field(default_factory=dict)


def build_architecture(workload: Builds, architecture: Architecture) -> nn.Module:
    """The workload's untrained model that the structure edits are relative to, its weights plain."""
    is_student = architecture.role == "student"
    model = workload.build_student(dict(architecture.config)) if is_student else workload.build_teacher()
    make_plain_(model)
    return model


def save_variant(
    folder: Path,
    model: nn.Module,
    manifest: Manifest,
    workload: Builds,
    plan: dict[str, Any] | None = None,
    grids: Mapping[str, Tensor] = NO_GRIDS,
    *,
    pack: Pack = "none",
) -> Manifest:
    """Write the artifact whole, its weights stored as `pack` says; returns the manifest with all that is filled in here.

    Raises:
        ArtifactError: the model differs from its architecture in something that cannot be stored.
    """
    edits = structure_edits(build_architecture(workload, manifest.architecture), model)
    with whole_folder(folder) as draft:
        packing = write_stored(draft, model.state_dict(), pack)
        if plan is not None:
            write_json(draft / PLAN, plan)
        if grids:
            write_weights(draft / GRIDS, grids)
        versions = library_versions("torch", "safetensors", *(("zstandard",) if pack == "entropy" else ()))
        found = {"structure": edits, "packing": packing, "files": checksums(draft), "versions": versions}
        complete = manifest.model_copy(update=found)
        write_manifest(draft, complete)
    return complete


def load_variant(folder: Path, workload: Builds) -> Variant:
    """Read an artifact back, in evaluation mode.

    Raises:
        ArtifactError: a file is missing or altered, or the weights do not fit the structure.
        NotMade: the folder holds the note that its stage did not make it.
    """
    require_made(folder)
    manifest = read_manifest(folder)
    if manifest.workload != workload.name:
        raise ArtifactError(f"{folder}: made for workload {manifest.workload!r}, asked for {workload.name!r}")
    architecture = build_architecture(workload, manifest.architecture)
    weights = fitting_weights(folder, architecture, manifest.structure, manifest.packing)
    model = replay(architecture, manifest.structure)
    load_weights(model, weights, folder)
    plan = read_json(folder / PLAN) if (folder / PLAN).exists() else None
    grids = read_weights(folder / GRIDS) if (folder / GRIDS).exists() else {}
    return Variant(model.eval(), manifest, plan, grids)


def fitting_weights(
    folder: Path, architecture: nn.Module, structure: Mapping[str, dict[str, Any]], packing: Packing | None
) -> dict[str, Tensor]:
    """The weights in `folder`, read only if their file's header has the names and shapes of the architecture with its edits.

    The edits are first made without memory, so a manifest cannot ask for more than the file beside it holds.

    Raises:
        ArtifactError: a file is missing or damaged, or names or shapes differ.
    """
    with torch.device("meta"):
        planned = replay(architecture, structure)
    if found := weight_shapes(folder):
        require_shapes(shapes_of(planned.state_dict()), found, folder)
    return read_stored(folder, packing)
