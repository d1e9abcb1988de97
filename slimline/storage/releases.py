"""Releases in the store: uploaded whole with release.json last, verified to the last byte when fetched.

    releases/<workload>/<release id>/   the compiled files, manifest.json, release.json and papers: MODEL_CARD.md, …
    releases/<workload>/aliases/        see aliases.py

A release's id is the first 20 hex digits of the sha256 of its manifest.json, which holds the sha256 of every file
that runs: whoever knows the id can tell whether any byte was changed.
"""

import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from slimline.artifact.compiled import RELEASE, CompiledManifest, read_compiled
from slimline.artifact.folder import sha256_of, whole_folder
from slimline.errors import ArtifactError, StorageRefused
from slimline.storage.aliases import Identity, Line, Word, read_alias
from slimline.storage.client import Store, connect
from slimline.storage.objects import download, listed, put_bytes, read, upload, write_if
from slimline.storage.server import environment_here
from slimline.storage.url import object_address, release_address

MANIFEST = "manifest.json"
CONTENT_TYPES = {".html": "text/html", ".md": "text/markdown"}
ID_DIGITS = 20
TRIES = 10


def _safe_name(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or name != path.as_posix() or "\\" in name:
        raise ValueError(f"file name {name!r} would leave the release's folder")
    return name


class Estimate(BaseModel):
    """A figure and its interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    ci: tuple[float, float]


def _shown(evaluation: dict[str, Any]) -> dict[str, Any]:
    """What `slimline releases` shows of it must be there in its form."""
    quality = {name: Estimate.model_validate(one) for name, one in dict(evaluation.get("quality", {})).items()}
    drop = evaluation.get("drop")
    if drop is not None and (not isinstance(drop, dict) or drop.get("metric") not in quality):
        raise ValueError("the metric of its drop is not in its quality")
    return evaluation


Name = Annotated[str, AfterValidator(_safe_name)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ReleasedFile(BaseModel):
    """What one file of a release must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256
    size_bytes: int = Field(ge=0)


class Release(BaseModel):
    """release.json: what was released, how it was judged, and the checksum of every file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    release: Identity
    workload: Line
    variant: Word
    target: Word
    precision: Line
    size_bytes: int = Field(ge=0)
    evaluation: Annotated[dict[str, Any], AfterValidator(_shown)] = Field(default_factory=dict)
    files: dict[Name, ReleasedFile] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """variant-target."""
        return f"{self.variant}-{self.target}"


@dataclass(frozen=True)
class PublishedRelease:
    """A release as the store lists it."""

    release: Release
    published: datetime
    url: str


def release_id(folder: Path) -> str:
    """The identity of a compiled variant, by content."""
    return sha256_of(folder / MANIFEST)[:ID_DIGITS]


def release_base(workload: str) -> str:
    """The key below which a workload's releases and aliases stand; a workload given as a file becomes one plain word."""
    return f"releases/{re.sub(r'[^a-z0-9]+', '-', workload.lower()).strip('-')}"


def upload_release(store: Store, base: str, release: Release, files: Mapping[str, Path], papers: Mapping[str, bytes]) -> bool:
    """Upload a release whole, release.json last; False when it already stands whole (then nothing is written).

    `files` are fixed by the release's id, so they replace what an interrupted upload left. `papers` (model card, report)
    hold timings, so the first publisher's stand: two publishers at once end with one release whose checksums are right.

    Raises:
        StorageUnavailable, StorageRefused: the upload is not complete; without release.json nothing is a release.
    """
    place = f"{base}/{release.release}"
    for _ in range(TRIES):
        standing = read(store, f"{place}/{RELEASE}")
        if standing is not None and (found := _parsed(standing.body)) is not None and is_whole(store, place, found):
            return False
        present = {name: _sent_file(store, f"{place}/{name}", path) for name, path in sorted(files.items())}
        present |= {name: _sent_paper(store, f"{place}/{name}", body) for name, body in sorted(papers.items())}
        complete = release.model_copy(update={"files": present})
        body = (complete.model_dump_json(by_alias=True, indent=2) + "\n").encode()
        if write_if(store, f"{place}/{RELEASE}", body, standing.etag if standing else None):
            return True
    raise StorageRefused(f"{store.url(place)}/{RELEASE}: changed {TRIES} times meanwhile; let the other publisher finish, then run again")


def is_whole(store: Store, place: str, release: Release) -> bool:
    """Whether every file that release.json lists stands in the store with its size."""
    sizes = {item.key.removeprefix(f"{place}/"): item.size_bytes for item in listed(store, f"{place}/")}
    return bool(release.files) and all(sizes.get(name) == file.size_bytes for name, file in release.files.items())


def read_release(store: Store, base: str, identity: str) -> Release:
    """The release.json of one release.

    Raises:
        StorageRefused: there is no such release, or its release.json is damaged.
    """
    key = f"{base}/{identity}/{RELEASE}"
    found = read(store, key)
    if found is None:
        raise StorageRefused(f"{store.url(key)}: no such release at {store.endpoint}; `slimline releases` lists what there is")
    release = _parsed(found.body)
    if release is None or release.release != identity:
        raise StorageRefused(f"{store.url(key)}: damaged or of another release; publish again to mend it")
    return release


def list_releases(store: Store, base: str) -> list[PublishedRelease]:
    """Every whole release of a workload, newest first; half-uploaded and damaged ones are left out."""
    found = []
    for item in listed(store, f"{base}/"):
        place, _, name = item.key.rpartition("/")
        body = read(store, item.key) if name == RELEASE and place.count("/") == base.count("/") + 1 else None
        release = _parsed(body.body) if body else None
        if release is not None and place == f"{base}/{release.release}":
            found.append(PublishedRelease(release, item.modified, store.url(f"{place}/")))
    return sorted(found, key=lambda one: (one.published, one.release.label), reverse=True)


def fetch_release(url: str, into: Path) -> Path:
    """Bring a release (or the one an alias points at) to `into`/<release id> and verify every byte; a good copy is used again.

    Raises:
        InputError: `url` is no release's or alias's address.
        StorageRefused, StorageUnavailable: the store says no or nothing.
        ArtifactError: a file differs from its checksum, or the manifest from the release's id.
    """
    address = release_address(url)
    identity = address.release
    if identity is not None and _is_good(into / identity, identity):
        return into / identity
    with environment_here() as environment:
        store = connect(address.bucket, environment)
        identity = identity or read_alias(store, address.base, address.alias or "").release
        if not _is_good(into / identity, identity):
            _download_release(store, address.base, identity, into / identity)
    return into / identity


def fetch_object(url: str, into: Path) -> Path:
    """Bring one object to the file `into`, whole or not at all; returns `into`.

    Raises:
        InputError: `url` is no s3://bucket/key.
        StorageRefused: wrong key, missing bucket or no such object.
        StorageUnavailable: the store does not answer.
    """
    bucket, key = object_address(url)
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{into.name}.", dir=into.parent) as folder, environment_here() as environment:
        draft = Path(folder) / "object"
        download(connect(bucket, environment), key, draft)
        draft.replace(into)
    return into


def verify_stored(store: Store, base: str, identity: str) -> None:
    """Fetch a release into a folder that is dropped again, and check every byte of it: sizes do not tell what was altered.

    Raises:
        StorageRefused, StorageUnavailable: the store says no or nothing.
        ArtifactError: a file differs from its checksum, or the manifest from the release's id.
    """
    with tempfile.TemporaryDirectory(prefix="slimline-release-") as folder:
        _download_release(store, base, identity, Path(folder) / identity)


def verify_release(folder: Path, identity: str) -> CompiledManifest:
    """Check a fetched release against its id, its manifest and its release.json.

    Raises:
        ArtifactError: any byte is not what was released.
    """
    if not (folder / MANIFEST).is_file() or (found := release_id(folder)) != identity:
        shown = found if (folder / MANIFEST).is_file() else "no manifest"
        raise ArtifactError(f"release {identity}: its manifest.json makes it {shown}; it was altered in the store, publish it again")
    manifest = read_compiled(folder)
    release = _parsed((folder / RELEASE).read_bytes()) if (folder / RELEASE).is_file() else None
    if release is None or (release.release, release.workload, release.label, release.precision) != (identity, *_names(manifest)):
        raise ArtifactError(f"release {identity}: release.json is missing, altered or of another release; publish it again")
    for name, file in release.files.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != file.sha256:
            raise ArtifactError(f"release {identity}: {name} differs from its checksum in release.json; it was altered, publish it again")
    return manifest


def _names(manifest: CompiledManifest) -> tuple[str, str, str]:
    return manifest.workload, f"{manifest.variant}-{manifest.target}", manifest.precision


def _download_release(store: Store, base: str, identity: str, target: Path) -> None:
    release = read_release(store, base, identity)
    try:
        with whole_folder(target) as draft:
            for name in (*release.files, RELEASE):
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                download(store, f"{base}/{identity}/{name}", draft / name)
            verify_release(draft, identity)
    except OSError:
        if not _is_good(target, identity):  # another process has just put the same release there
            raise


def _is_good(folder: Path, identity: str) -> bool:
    if not folder.is_dir():
        return False
    try:
        verify_release(folder, identity)
    except ArtifactError:
        return False
    return True


def _sent_file(store: Store, key: str, path: Path) -> ReleasedFile:
    upload(store, key, path)
    return ReleasedFile(sha256=sha256_of(path), size_bytes=path.stat().st_size)


def _sent_paper(store: Store, key: str, body: bytes) -> ReleasedFile:
    if not write_if(store, key, body, None, CONTENT_TYPES.get(PurePosixPath(key).suffix, "application/json")):
        found = read(store, key)
        if found is None:
            put_bytes(store, key, body)
        body = found.body if found else body
    return ReleasedFile(sha256=hashlib.sha256(body).hexdigest(), size_bytes=len(body))


def _parsed(body: bytes) -> Release | None:
    try:
        return Release.model_validate_json(body)
    except ValidationError:
        return None
