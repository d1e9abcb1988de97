"""manifest.json: what an artifact is, where it comes from, and the checksum of every file beside it."""

from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from slimline.artifact.border import told_as
from slimline.artifact.folder import sha256_of, write_json
from slimline.artifact.json_file import read_json
from slimline.artifact.signature import Signature
from slimline.errors import ArtifactError

SCHEMA: Final = 1
MANIFEST = "manifest.json"
LONGEST_BYTES = 2_000_000
"""Of a manifest, which is read before anything vouches for it."""
LONGEST_PLACE = 300
"""Characters of a folder's name that are shown where the system refuses it."""
Parsed = TypeVar("Parsed", bound=BaseModel)


class Architecture(BaseModel):
    """Which of the workload's two builders makes the model, and with which settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["teacher", "student"] = "teacher"
    config: dict[str, Any] = Field(default_factory=dict)


class Packing(BaseModel):
    """That the weights are stored packed: how, and in how many bytes.

    `unpacked_bytes` is what Zstandard may unpack to, a bound that loading keeps; `plain_bytes` what plain safetensors would take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sparse", "entropy"]
    stored_bytes: int = Field(ge=0)
    unpacked_bytes: int = Field(ge=0)
    plain_bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """The identity of one variant. Holds no clock and no git commit, so that equal work gives equal bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = SCHEMA
    workload: str
    variant: str
    stage: str
    method: str
    config: dict[str, Any]
    source: str | None
    lineage: tuple[str, ...]
    architecture: Architecture
    structure: dict[str, dict[str, Any]]
    seed: int
    signature: Signature | None = None
    """What it takes and gives; without one it can be trained and compiled, not run by slimline.runtime."""
    objective: dict[str, Any] = Field(default_factory=dict)
    """How its outputs are read (see slimline.objectives.described)."""
    packing: Packing | None = None
    computed_on: str | None = None
    """Where it was trained, if not on the CPU in float32: the same training gives other bytes there."""
    files: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)


def library_versions(*names: str) -> dict[str, str]:
    """Installed versions of the named distributions."""
    return {name: version(name) for name in names}


def write_manifest(folder: Path, manifest: BaseModel) -> None:
    """Store the manifest as the folder's last file."""
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))


def read_manifest(folder: Path) -> Manifest:
    """Read an artifact's manifest and check every file against it.

    Raises:
        ArtifactError: no manifest, an unreadable one, or a file that is missing, altered or not listed.
    """
    manifest = parse_manifest(folder, Manifest, f"a manifest of schema {SCHEMA}")
    verify_files(folder, manifest.files)
    return manifest


def manifest_json(folder: Path) -> Any:
    """What a folder's manifest.json says, as plain data.

    Raises:
        ArtifactError: there is none, or it is no bounded JSON.
    """
    with told_as(lambda reason: ArtifactError(f"{str(folder)[:LONGEST_PLACE]}: cannot be read: {reason}")):
        there = (folder / MANIFEST).is_file()
    if not there:
        raise ArtifactError(f"{folder}: holds no manifest.json; give the folder of a compiled variant, a release or a variant")
    return read_json(folder / MANIFEST, LONGEST_BYTES)


def parse_manifest(folder: Path, kind: type[Parsed], what: str) -> Parsed:
    """A folder's manifest.json as one of the two kinds; nothing beside it is looked at.

    Raises:
        ArtifactError: no manifest, or an unreadable one; the message says what it should have been.
    """
    path = folder / MANIFEST
    found = manifest_json(folder)
    with told_as(lambda reason: ArtifactError(f"{path}: not {what}: {reason}")):
        return kind.model_validate(found)


def verify_files(folder: Path, files: dict[str, str]) -> None:
    """Compare a folder with the checksums in its manifest.

    Raises:
        ArtifactError: a file is missing, altered, outside the folder or not listed.
    """
    with told_as(lambda reason: ArtifactError(f"{folder}: cannot be looked through: {reason}")):
        present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    for name in sorted(files.keys() - present):
        raise ArtifactError(f"{folder}: {name} is listed in manifest.json and missing; fetch or build the artifact again")
    for name in sorted(present - files.keys()):
        raise ArtifactError(f"{folder}: {name} is not listed in manifest.json; remove it or build the artifact again")
    for name, expected in files.items():
        if (found := _checksum(folder, name)) != expected:
            raise ArtifactError(
                f"{folder}: {name} has sha256 {found[:12]}…, manifest.json says {expected[:12]}…; it was altered or cut short"
            )


def _checksum(folder: Path, name: str) -> str:
    with told_as(lambda reason: ArtifactError(f"{folder}: {name} cannot be read: {reason}")):
        return sha256_of(folder / name)
