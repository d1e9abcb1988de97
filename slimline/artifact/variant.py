"""Save and load one variant: manifest.json, its weights, plain or packed, and where it is quantized its plan and stored grids."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from slimline.artifact.fitted import Builds, build_architecture, fitted
from slimline.artifact.folder import checksums, whole_folder, write_json
from slimline.artifact.json_file import read_json
from slimline.artifact.manifest import Manifest, library_versions, read_manifest, write_manifest
from slimline.artifact.missed import require_made
from slimline.artifact.packed import write_stored
from slimline.artifact.structure import structure_edits
from slimline.artifact.weights import load_weights, read_weights, write_weights
from slimline.errors import ArtifactError

if TYPE_CHECKING:
    from slimline.params.section import Pack

PLAN, GRIDS = "quantization.json", "quantization.safetensors"
NO_GRIDS: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True)
class Variant:
    """A loaded variant: the float model, its identity, and where it is quantized its plan and the grids stored beside it."""

    model: nn.Module
    manifest: Manifest
    plan: dict[str, Any] | None = None
    grids: Mapping[str, Tensor] = field(default_factory=dict)


def save_variant(
    folder: Path,
    model: nn.Module,
    manifest: Manifest,
    workload: Builds,
    plan: dict[str, Any] | None = None,
    grids: Mapping[str, Tensor] = NO_GRIDS,
    *,
    pack: "Pack" = "none",
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
    model, weights = fitted(folder, workload, manifest.architecture, manifest.structure, manifest.packing)
    load_weights(model, weights, folder)
    plan = read_json(folder / PLAN) if (folder / PLAN).exists() else None
    grids = read_weights(folder / GRIDS) if (folder / GRIDS).exists() else {}
    return Variant(model.eval(), manifest, plan, grids)
