"""Where the project is: the folder with dvc.yaml, looked for upward from here."""

from collections.abc import Sequence
from pathlib import Path

from slimline.errors import InputError

NEEDED = ("dvc.yaml", "params.yaml")


def find_project(start: Path | None = None, needed: Sequence[str] = NEEDED) -> Path:
    """The nearest folder, upward, that holds dvc.yaml and params.yaml.

    Raises:
        InputError: there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if all((folder / name).is_file() for name in needed):
            return folder
    raise InputError(f"{start}: no {' and '.join(needed)} here or above; go to a clone of the project and run this again")
