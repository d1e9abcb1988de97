"""The files that are whole runs: params.yaml, and params/<name>.yaml beside it."""

from pathlib import Path

from slimline.errors import InputError

USUAL, FOLDER = "params.yaml", "params"


def params_files(root: Path) -> tuple[str, ...]:
    """All that are there, params.yaml first."""
    return (USUAL, *sorted(path.relative_to(root).as_posix() for path in (root / FOLDER).glob("*.yaml")))


def located(root: Path, given: str) -> str:
    """A params file's path inside the project, as git knows it.

    Raises:
        InputError: no such file, or none of this project; those that are there are named.
    """
    path = (root / given).resolve()
    if not path.is_relative_to(root.resolve()):
        raise InputError(f"--params {given}: not inside {root}; copy it to {FOLDER}/, a run in a clone takes it from there")
    if not path.is_file():
        raise InputError(f"--params {given}: no such file in {root}; there are: {', '.join(params_files(root))}")
    return path.relative_to(root.resolve()).as_posix()
