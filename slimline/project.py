"""Where the project is: the folder with dvc.yaml, looked for upward from here."""

from pathlib import Path

from slimline.errors import InputError


def find_project(start: Path | None = None) -> Path:
    """The nearest folder, upward, that holds dvc.yaml and params.yaml.

    Raises:
        InputError: there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "params.yaml").is_file():
            return folder
    raise InputError(f"{start}: no dvc.yaml and params.yaml here or above; go to a clone of the project and run this again")
