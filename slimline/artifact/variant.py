"""Save and load one variant: manifest.json, weights.safetensors and, where it is quantized, its plan and stored grids."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from slimline.artifact.folder import checksums, whole_folder, write_json
from slimline.artifact.manifest import Architecture, Manifest, library_versions, read_json, read_manifest, write_manifest
from slimline.artifact.structure import replay, structure_edits
from slimline.errors import ArtifactError

WEIGHTS = "weights.safetensors"
PLAN, GRIDS = "quantization.json", "quantization.safetensors"
NO_GRIDS: Mapping[str, Tensor] = MappingProxyType({})
PICKLE_ENDINGS = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pt2", ".pth"}
PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


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
    """The workload's untrained model that the structure edits are relative to."""
    if architecture.role == "student":
        return workload.build_student(dict(architecture.config))
    return workload.build_teacher()


def save_variant(
    folder: Path,
    model: nn.Module,
    manifest: Manifest,
    workload: Builds,
    plan: dict[str, Any] | None = None,
    grids: Mapping[str, Tensor] = NO_GRIDS,
) -> Manifest:
    """Write the artifact whole; returns the manifest with structure, checksums and versions filled in."""
    edits = structure_edits(build_architecture(workload, manifest.architecture), model)
    with whole_folder(folder) as draft:
        write_weights(draft / WEIGHTS, model.state_dict())
        if plan is not None:
            write_json(draft / PLAN, plan)
        if grids:
            write_weights(draft / GRIDS, grids)
        versions = library_versions("torch", "safetensors")
        complete = manifest.model_copy(update={"structure": edits, "files": checksums(draft), "versions": versions})
        write_manifest(draft, complete)
    return complete


def load_variant(folder: Path, workload: Builds) -> Variant:
    """Read an artifact back, in evaluation mode.

    Raises:
        ArtifactError: a file is missing or altered, or the weights do not fit the structure.
    """
    manifest = read_manifest(folder)
    if manifest.workload != workload.name:
        raise ArtifactError(f"{folder}: made for workload {manifest.workload!r}, asked for {workload.name!r}")
    model = replay(build_architecture(workload, manifest.architecture), manifest.structure)
    load_weights(model, read_weights(folder / WEIGHTS), folder / WEIGHTS)
    plan = read_json(folder / PLAN) if (folder / PLAN).exists() else None
    grids = read_weights(folder / GRIDS) if (folder / GRIDS).exists() else {}
    return Variant(model.eval(), manifest, plan, grids)


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors. Python writes the bytes, so that a full disk is an OSError as everywhere else.

    Raises:
        OSError: the disk is full or not writable.
    """
    path.write_bytes(save({name: value.detach().contiguous().clone() for name, value in tensors.items()}))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ArtifactError: the file is missing, cut short, or a pickle (which is refused unread).
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file")
    refuse_pickle(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: is no whole safetensors file ({error}); it may be cut short, fetch it again") from error


def refuse_pickle(path: Path) -> None:
    """Look at a file's ending and first bytes, and refuse a pickle unread.

    Raises:
        ArtifactError: it is a pickle; the message says how to convert it.
    """
    with path.open("rb") as stream:
        head = stream.read(9)
    is_safetensors = head[8:] == b"{"  # after the header's length, whose first bytes can be any: 1152 looks like a pickle's
    if path.suffix in PICKLE_ENDINGS or (head.startswith(PICKLE_MAGIC) and not is_safetensors):
        raise ArtifactError(
            f"{path}: is a pickle, which can run any code when loaded, so it is refused unread; "
            "docs/operations.md, 'Convert a pickle', shows how to make a safetensors file of it"
        )


def load_weights(model: nn.Module, weights: dict[str, Tensor], origin: Path) -> None:
    """Put weights into a model, strictly.

    Raises:
        ArtifactError: names or shapes differ; the message counts them and shows the first.
    """
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    wrong = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    if wrong:
        name = min(wrong)
        raise ArtifactError(
            f"{origin}: {len(wrong)} of {len(expected)} tensors do not fit the model; "
            f"first: {name} is {found.get(name, 'missing')}, expected {expected.get(name, 'nothing of that name')}"
        )
    model.load_state_dict(weights, strict=True)
