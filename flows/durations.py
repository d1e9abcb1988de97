"""How long each stage took when it last ran to its end on this machine: .slimline/durations.json, stage -> seconds."""

from collections.abc import Mapping
from pathlib import Path

from slimline.artifact.folder import write_json
from slimline.storage.state_file import read_state

DURATIONS = ".slimline/durations.json"


def durations(project: Path) -> dict[str, float]:
    """Seconds by stage; empty where nothing is known."""
    return read_state(project / DURATIONS, lambda found: {str(stage): float(seconds) for stage, seconds in found.items()}) or {}


def keep_durations(project: Path, seconds: Mapping[str, float]) -> None:
    """Add those of a run."""
    if seconds:
        known = durations(project) | {name: round(one, 1) for name, one in seconds.items()}
        write_json(project / DURATIONS, dict(sorted(known.items())))


def left_s(stage: str, elapsed_s: float, known: Mapping[str, float]) -> float | None:
    """Seconds that a running stage will take still, if it takes as long as last time; None where it never ran."""
    return max(0.0, known[stage] - elapsed_s) if stage in known else None
