"""What a run shows in Prefect's UI beside states and logs: the table of results, and how far it is."""

import time
from collections.abc import Callable, Mapping
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact

from flows.api import attempt
from slimline.progress import Progress, read_progress

PROGRESS_SECONDS = 1.0
EPOCHS_SECONDS = 5.0
"""A training that is shorter has no bar of its own, and of a longer one it moves no more often."""


def results_rows(summary: Mapping[str, Any], releases: Mapping[str, str] | None) -> list[dict[str, Any]]:
    """One row a variant and target, from reports/summary.json; ratios are baseline/variant, so more is better."""
    where = releases or {}
    return [_row(row, where.get(f"{row['variant']}-{row['target']}", "")) for row in summary["variants"]]


def _row(row: Mapping[str, Any], release: str) -> dict[str, Any]:
    if row.get("missed") is not None:
        return {"variant": row["variant"], "target": row["target"], "verdict": row["verdict"], "released": "", "why": row["reasons"][0]}
    metric = row["drop"]["metric"]
    return {
        "variant": row["variant"],
        "target": row["target"],
        metric: with_interval(row["quality"].get(metric)),
        "drop": with_interval(row["drop"]),
        "size_bytes": row["size_bytes"],
        "size_ratio": f"{row['size_ratio']:.2f}",
        "speed_ratio": with_interval((row.get("speed_ratio") or {}).get("batch_1"), digits=2),
        "verdict": row["verdict"],
        "released": release,
    }


def with_interval(estimate: Mapping[str, Any] | None, digits: int = 4) -> str:
    """`0.9876 [0.9801, 0.9930]`; empty where there is no estimate."""
    if estimate is None or estimate.get("value") is None:
        return ""
    low, high = estimate["ci"]
    return f"{estimate['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def show_results(summary: Mapping[str, Any], releases: Mapping[str, str] | None) -> None:
    """Attach the table to the run."""
    rows = results_rows(summary, releases)
    attempt(lambda: create_table_artifact(key="results", table=rows, description="Every variant, from reports/summary.json"))


def progress_artifact() -> Callable[[int, int], None]:
    """Attach a progress bar to the run; the function given back moves it, at most once a second."""
    artifact = attempt(lambda: create_progress_artifact(progress=0.0, key="progress", description="Stages done"))
    last = time.monotonic()

    def move(done: int, of: int) -> None:
        nonlocal last
        if artifact is not None and (done == of or time.monotonic() - last >= PROGRESS_SECONDS):
            last = time.monotonic()
            attempt(lambda: update_progress_artifact(artifact, progress=100.0 * done / max(1, of)))

    return move


class TrainingBar:
    """A progress bar of a stage's training, by epochs, beside its task; there once the training has gone on for some seconds."""

    def __init__(self, stage: str, key: str) -> None:
        self.stage, self.key = stage, key
        self.artifact: UUID | None = None
        self._moved = time.monotonic()

    def hear(self, line: str) -> None:
        """Take in a line of the stage's log."""
        told = read_progress(line)
        if told is None or (time.monotonic() - self._moved < EPOCHS_SECONDS and not self._ends(told)):
            return
        self._moved = time.monotonic()
        share = 100.0 * told.done / told.total
        if self.artifact is None:
            self.artifact = attempt(lambda: self._made(share))
        else:
            attempt(lambda: update_progress_artifact(self.artifact, progress=share))

    def _ends(self, told: Progress) -> bool:
        return self.artifact is not None and told.done == told.total

    def _made(self, share: float) -> UUID:
        return cast("UUID", create_progress_artifact(progress=share, key=self.key, description=f"{self.stage}: epochs"))
