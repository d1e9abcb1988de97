"""Which workloads there are, and where each one's class is; nothing is imported to know it."""

from importlib.metadata import entry_points
from pathlib import Path

from slimline.errors import WorkloadError

BUNDLED = {
    "digits": "slimline.workloads.digits:Digits",
    "tabular": "slimline.workloads.tabular:Tabular",
}
LANGUAGE = "causal-lm"
DOORS = {
    "images": "slimline.workloads.images:Images",
    "table": "slimline.workloads.table:TableDoor",
    "text": "slimline.workloads.text:TextDoor",
    LANGUAGE: "slimline.workloads.language:LanguageDoor",
}
"""Workloads without code, which read what `data.path` names."""
ENTRY_POINT_GROUP = "slimline.workloads"
LONGEST_LOCATION = 200


def known_workloads() -> dict[str, str]:
    """Name -> "module:Class" of the bundled and the installed ones.

    Raises:
        WorkloadError: two of them have the same name.
    """
    known = BUNDLED | DOORS
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name in known:
            raise WorkloadError(f"workload {entry.name!r}: both {known[entry.name]} and {entry.value} claim this name; uninstall one")
        known[entry.name] = entry.value
    return known


def locate_workload(name: str, root: Path = Path()) -> str:
    """Say where a workload's class is, without importing it.

    Raises:
        WorkloadError: no such name, or no such file.
    """
    if not 0 < len(name) <= LONGEST_LOCATION or not name.isprintable():
        raise WorkloadError(f"params.yaml: workload: {name[:40]!r}… is no name; give 1 to {LONGEST_LOCATION} printable characters")
    if ".py:" in name:
        path, _, attribute = name.rpartition(":")
        if not (root / path).is_file():
            raise WorkloadError(f"params.yaml: workload: no file {path!r} (given: {name!r}); the path is relative to the project folder")
        if not attribute.isidentifier():
            raise WorkloadError(f"params.yaml: workload: {attribute!r} is no class name (given: {name!r}); write path/to/file.py:ClassName")
        return name
    known = known_workloads()
    if name not in known:
        raise WorkloadError(f"params.yaml: workload: unknown {name!r}; known: {', '.join(sorted(known))}, or path/to/file.py:ClassName")
    return known[name]
