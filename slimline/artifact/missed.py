"""missed.json: what stands in a variant's folder where its stage ran and did not make it, so that the line goes on and tells why."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from slimline.artifact.folder import whole_folder, write_json
from slimline.errors import ArtifactError, NotMade

MISSED = "missed.json"


class Missed(BaseModel):
    """Which variant was not made, by which stage, and what it said; on `target` where it was made for others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    variant: str
    target: str | None = None
    stage: str
    reason: str


def write_missed(folder: Path, missed: Missed) -> None:
    """Put the note in the place of the artifact, whole."""
    with whole_folder(folder) as draft:
        write_json(draft / MISSED, missed.model_dump(mode="json"))


def read_missed(folder: Path) -> Missed | None:
    """The note in a folder; None where there is none.

    Raises:
        ArtifactError: it is damaged.
    """
    path = folder / MISSED
    if not path.is_file():
        return None
    try:
        return Missed.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ArtifactError(f"{path}: not a note of a missed variant: {' '.join(str(error).split())[:200]}") from None


def require_made(folder: Path) -> None:
    """Nothing where a folder holds an artifact.

    Raises:
        NotMade: it holds the note that there is none.
    """
    if missed := read_missed(folder):
        raise NotMade(missed.variant, missed.stage, missed.reason)
