"""How long each stage took when it last ran to its end on this machine, in seconds: .slimline/durations.json."""

from collections.abc import Mapping
from pathlib import Path

from flows.stage_numbers import keep_numbers, numbers_of

DURATIONS = ".slimline/durations.json"


def durations(project: Path, file: str) -> dict[str, float]:
    """Seconds by stage of a params file; empty where nothing is known."""
    return numbers_of(project / DURATIONS, file)


def keep_durations(project: Path, file: str, seconds: Mapping[str, float]) -> None:
    """Add those of a run."""
    keep_numbers(project / DURATIONS, file, {name: round(one, 1) for name, one in seconds.items()})


def left_s(stage: str, elapsed_s: float, known: Mapping[str, float]) -> float | None:
    """Seconds that a running stage will take still, if it takes as long as last time; None where it never ran."""
    return max(0.0, known[stage] - elapsed_s) if stage in known else None
