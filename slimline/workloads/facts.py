"""What a door learned of its data, as plain data beside the splits: the stages after `data` know the folder or table by it alone."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from slimline.artifact.border import told_as
from slimline.artifact.folder import write_json
from slimline.artifact.json_file import read_json
from slimline.data.prepared import PREPARED
from slimline.data.preprocessing import Preprocessing
from slimline.errors import DataError

FACTS = "facts.json"


class Facts(BaseModel):
    """How samples become inputs, what is asked (as slimline.objectives.described has it), how many numbers answer it, what was found.

    `net` describes a net of a Hugging Face directory (slimline.workloads.huggingface), so that the directory is not needed any more;
    `carried` are the texts of its licence and card by file name, which go into every release.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preprocessing: Preprocessing
    objective: dict[str, Any]
    outputs: int
    found: dict[str, Any]
    net: dict[str, Any] | None = None
    carried: dict[str, str] = {}


def write_facts(folder: Path, facts: Facts) -> None:
    """Store the facts among the splits."""
    write_json(folder / FACTS, facts.model_dump(mode="json"))


def read_facts(folder: Path = PREPARED) -> Facts | None:
    """The facts among the splits of a folder; None where there are none.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / FACTS
    if not path.is_file():
        return None
    with told_as(lambda reason: DataError(f"{path}: is damaged: {reason}; prepare it again (dvc repro --force data)")):
        return Facts.model_validate(read_json(path))
