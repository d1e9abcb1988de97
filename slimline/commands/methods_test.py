"""`slimline methods test FILE`: every method of a file held to the contract, on small nets."""

import os
import sys
from pathlib import Path

from slimline.errors import InputError, SlimlineError
from slimline.params.own import FOLDER, own_methods
from slimline.project import find_project


def methods_test(file: str | None) -> None:
    """Try every method of the file; one line for each promise that one does not keep.

    Raises:
        InputError: no file, none below methods/, or one without a method.
        SlimlineError: with all that is not kept.
    """
    root = find_project()
    path = _inside(file, root)
    os.chdir(root)
    kinds = dict(own_methods(root / path))
    if not kinds:
        raise InputError(
            f"{path}: no function with a parameter `config` that is annotated by a config class; docs/add-a-method.md shows one"
        )
    from slimline.calibration.contract import breaches

    broken = [f"{path}:{name}: {line}" for name, kind in kinds.items() for line in breaches(f"{path}:{name}", kind)]
    if broken:
        raise SlimlineError("\n".join(broken))
    sys.stdout.write(f"{path}: {', '.join(kinds)} keep{'s' if len(kinds) == 1 else ''} the contract\n")


def _inside(file: str | None, root: Path) -> str:
    if file is None:
        raise InputError(f"methods test: which file? for example: slimline methods test {FOLDER}/mine.py")
    path = next((place for place in (Path(file).resolve(), (root / file).resolve()) if place.is_file()), None)
    if path is None:
        raise InputError(f"methods test: no file {file!r}")
    if not path.is_relative_to(root / FOLDER):
        raise InputError(f"methods test: {file} lies outside {FOLDER}/, the folder that DVC watches; move it there")
    return str(path.relative_to(root))
