"""JSON files, read so that what stands in them is what we see: bounded, UTF-8, no key twice, no NaN."""

import json
from pathlib import Path
from typing import Any, NoReturn

from slimline.artifact.border import told_as
from slimline.errors import ArtifactError

LONGEST_BYTES = 64_000_000
"""Parsed JSON may take twenty times its file's bytes."""


def read_json(path: Path, longest_bytes: int = LONGEST_BYTES) -> Any:
    """Parse a JSON file that Slimline wrote.

    Raises:
        ArtifactError: it is missing, damaged or longer than it may be.
    """
    with told_as(lambda reason: ArtifactError(f"{path}: cannot be read: {reason}")):
        if not path.is_file():
            raise ArtifactError(f"{path}: cannot be read: no such file")
        if (found := path.stat().st_size) > longest_bytes:
            raise ArtifactError(f"{path}: holds {found:,} bytes, at most {longest_bytes:,} are read; fetch or build it again")
        return parse_json(path.read_bytes())


def parse_json(data: bytes) -> Any:
    """The value that JSON text stands for.

    Raises:
        ValueError: it is no JSON in UTF-8, names a key twice, or holds NaN or infinity.
    """
    return json.loads(data.decode("utf-8"), object_pairs_hook=_once_each, parse_constant=_refused)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"key {name!r} stands twice")
        found[name] = value
    return found


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no value of JSON")
