"""A number of each stage that outlives its run, by the params file that it ran for: .slimline/NAME.json, file -> stage -> number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimline.artifact.folder import write_json
from slimline.storage.state_file import read_state


def numbers_of(path: Path, file: str) -> dict[str, float]:
    """Those of a params file by stage; empty where nothing is known."""
    return _kept(path).get(file, {})


def keep_numbers(path: Path, file: str, found: Mapping[str, float]) -> None:
    """Add those of a run."""
    if found:
        kept = _kept(path)
        write_json(path, kept | {file: dict(sorted((kept.get(file, {}) | found).items()))})


def _kept(path: Path) -> dict[str, dict[str, float]]:
    return read_state(path, _by_file) or {}


def _by_file(content: Any) -> dict[str, dict[str, float]]:
    return {str(file): {str(stage): float(number) for stage, number in stages.items()} for file, stages in content.items()}
