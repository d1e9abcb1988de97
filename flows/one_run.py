"""What one run works with, and how it notes what a person should know."""

from dataclasses import dataclass
from pathlib import Path

from prefect import get_run_logger

from flows.events import Noted, tell
from flows.options import Options
from slimline.params import Params


@dataclass(frozen=True)
class Run:
    """What a run works with: the user's project, the folder it runs in (the same one, or a clone), its options and checked params."""

    project: Path
    folder: Path
    options: Options
    params: Params
    began: float


def note(lines: tuple[str, ...], before: str = "") -> None:
    """Write lines to the run's log in Prefect, and tell them to whoever listens here."""
    for line in lines:
        get_run_logger().warning("%s%s", before, line)
        tell(Noted(f"{before}{line}"))
