"""The files of stopped trainings, data/checkpoints/VARIANT/KEY/{training,round}-….safetensors: which are ours, and which are abandoned."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

FOLDER = Path("data/checkpoints")
KEPT = timedelta(days=7)
"""A stage that another machine has computed meanwhile is restored, and its training never goes on."""
_KEY, _FILE = re.compile(r"[0-9a-f]{16}"), re.compile(r"(round|training)-[0-9a-f-]+\.(safetensors|draft)")


def own_files(variant: Path) -> Iterator[Path]:
    """The checkpoints in the folder of a variant; what else lies there is somebody's own."""
    return (path for path in variant.glob("*/*") if _KEY.fullmatch(path.parent.name) and _FILE.fullmatch(path.name))


def clear(variant: Path) -> None:
    """Remove the checkpoints of a variant, and the folders that are empty then."""
    _remove(own_files(variant), variant)


def abandoned(root: Path, now: datetime) -> list[Path]:
    """The checkpoints of the project `root` that nobody has written for `KEPT`."""
    last = (now - KEPT).timestamp()
    return [path for variant in sorted((root / FOLDER).glob("*")) for path in own_files(variant) if path.stat().st_mtime < last]


def forget(paths: list[Path]) -> None:
    """Remove them, and the folders that are empty then."""
    for variant in {path.parent.parent for path in paths}:
        _remove((path for path in paths if path.parent.parent == variant), variant)


def _remove(paths: Iterator[Path], variant: Path) -> None:
    for path in list(paths):
        path.unlink(missing_ok=True)
    for folder in (*variant.glob("*"), variant, variant.parent):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
