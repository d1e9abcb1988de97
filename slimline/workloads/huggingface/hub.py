"""A model of the Hugging Face hub at one commit, fetched once into the hub's own cache: config, weights, tokenizer and processor."""

from pathlib import Path

from slimline.artifact.border import told_as
from slimline.errors import ArtifactError
from slimline.workloads.huggingface import offline

WANTED = ("*.json", "*.safetensors", "*.txt", "tokenizer.model", "1_Pooling/config.json")
"""Data alone: no pickles, no code."""


def fetched(name: str, revision: str, where: str) -> Path:
    """The folder of a repository's commit, from the cache where it is there; `where` says who asks.

    Raises:
        ArtifactError: it is neither there nor to be had.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _whole(Path(snapshot_download(name, revision=revision, allow_patterns=list(WANTED), local_files_only=True)), name)
    except LocalEntryNotFoundError:
        if offline.IS_ASKED_FOR:
            raise ArtifactError(f"{where}: is not in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it") from None
    constants.HF_HUB_OFFLINE = False
    try:
        with told_as(lambda _: ArtifactError(f"{where}: cannot be fetched: no network, or no such commit; give a directory: hf:DIRECTORY")):
            return Path(snapshot_download(name, revision=revision, allow_patterns=list(WANTED)))
    finally:
        constants.HF_HUB_OFFLINE = True


def _whole(folder: Path, name: str) -> Path:
    """A snapshot that was cut short holds no weights."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    if not list(folder.glob("*.safetensors")):
        raise LocalEntryNotFoundError(f"{name} is there in part")
    return folder
