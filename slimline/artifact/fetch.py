"""Bring a teacher's weights from a file, an S3 object or a Hugging Face folder, and check their sha256."""

import shutil
from pathlib import Path

from slimline.artifact.folder import sha256_of
from slimline.artifact.weight_header import PICKLE_ENDINGS
from slimline.artifact.weights import refuse_pickle
from slimline.errors import ArtifactError
from slimline.storage.releases import fetch_object

HF_WEIGHTS = "model.safetensors"


def fetch_weights(source: str, sha256: str, into: Path) -> Path:
    """A local copy of `file:PATH`, `s3://BUCKET/KEY` or `hf:FOLDER` (its model.safetensors), as yet unread.

    Raises:
        ArtifactError: it is missing, a pickle, or its checksum differs from `sha256`.
        StorageRefused, StorageUnavailable: S3 says no or nothing.
    """
    target = into / "weights.safetensors"
    kind, _, place = source.partition(":")
    if kind == "s3":
        fetch_object(source, target)
    else:
        path = Path(place) / HF_WEIGHTS if kind == "hf" else Path(place)
        if not path.is_file():
            raise ArtifactError(_missing(source, path, is_hf=kind == "hf"))
        refuse_pickle(path)
        shutil.copyfile(path, target)
    try:
        refuse_pickle(target)
    except ArtifactError as error:
        raise ArtifactError(f"params.yaml: teacher.source: {source}: {str(error).removeprefix(f'{target}: ')}") from None
    if (found := sha256_of(target)) != sha256:
        raise ArtifactError(
            f"params.yaml: teacher.source: {source} has sha256 {found}, teacher.sha256 says {sha256}; it was altered or cut short"
        )
    return target


def _missing(source: str, path: Path, *, is_hf: bool) -> str:
    pickles = sorted(one.name for one in path.parent.glob("*") if is_hf and one.suffix in PICKLE_ENDINGS)
    hint = f"; the folder holds {', '.join(pickles)}, pickles, which are refused: convert them to safetensors" if pickles else ""
    return f"params.yaml: teacher.source: {source}: no file {path}{hint}"
