"""Size: the bytes on disk of what one deploys."""

from pathlib import Path

from slimline.artifact.folder import folder_bytes
from slimline.errors import ArtifactError


def size_bytes(folder: Path) -> int:
    """Bytes of every file of an artifact, manifest included.

    Raises:
        ArtifactError: there is no such folder, or it is empty.
    """
    if not (total := folder_bytes(folder) if folder.is_dir() else 0):
        raise ArtifactError(f"{folder}: holds no files to measure; build the artifact first")
    return total


def size_ratio(baseline_bytes: int, variant_bytes: int) -> float:
    """How many times smaller the variant is: baseline/variant, above 1 is better."""
    return baseline_bytes / variant_bytes
