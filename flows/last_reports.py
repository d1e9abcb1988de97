"""The last report of each params file: of the working tree below reports/, of runs in clones below .slimline/runs/NAME/."""

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.environment import state_folder
from flows.results import read_json
from slimline.artifact.folder import write_json
from slimline.params.files import USUAL
from slimline.storage.state_file import DAMAGED, read_state

KEPT_REPORTS = ("index.html", "index.md", "summary.json", "releases.json")
ABOUT = "run.json"
"""Beside a kept report: the params file of its run, and when that began. A report from the cache tells of the run that first made it."""


def kept_reports(project: Path, name: str) -> Path:
    """Where the reports of a run in a clone are kept."""
    return state_folder(project) / "runs" / name


def keep_reports(source: Path, kept: Path) -> None:
    """Copy what is there of a decision page out of a clone, which goes."""
    kept.mkdir(parents=True, exist_ok=True)
    for name in KEPT_REPORTS:
        if (source / name).is_file():
            shutil.copyfile(source / name, kept / name)


def keep_about(kept: Path, params_file: str, began: float) -> None:
    """Say beside kept reports which run they are of; it began at `began` (monotonic seconds)."""
    at = datetime.fromtimestamp(time.time() - time.monotonic() + began, UTC)
    write_json(kept / ABOUT, {"params_file": params_file, "started": at.isoformat(timespec="seconds")})


def last_verdicts(project: Path) -> list[dict[str, Any]]:
    """What the newest report of each params file says, the newest first; damaged ones, and those of other versions, are passed over."""
    newest: dict[str, dict[str, Any]] = {}
    for one in sorted(_verdicts(project), key=_began):
        newest[one["params_file"]] = one
    return sorted(newest.values(), key=_began, reverse=True)


def _began(verdicts: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(verdicts["started"]).astimezone(UTC)


def _verdicts(project: Path) -> Iterator[dict[str, Any]]:
    places = [(project / "reports", {"params_file": USUAL})]
    for about in sorted((state_folder(project) / "runs").glob(f"*/{ABOUT}")):
        found = read_state(about, lambda told: {name: str(told[name]) for name in ("params_file", "started")})
        places += [(about.parent, found)] if found else []
    for folder, about_it in places:
        if (read := _read(folder, about_it)) is not None:
            yield read


def _read(folder: Path, about: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        summary, releases = read_json(folder / "summary.json"), read_json(folder / "releases.json")
        return None if summary is None else {**_counted(summary, releases, about), "report": str(folder / "index.html")}
    except DAMAGED:
        return None


def _counted(summary: Mapping[str, Any], releases: Mapping[str, str] | None, about: Mapping[str, str]) -> dict[str, Any]:
    accepted = [f"{row['variant']}-{row['target']}" for row in summary["variants"] if row["verdict"] == "accept"]
    counts = Counter(row["verdict"] for row in summary["variants"])
    started = about.get("started") or summary["run"]["started"]
    told = {"workload": summary["workload"], "params_file": about["params_file"], "started": started}
    _began(told)  # what is no time is damage
    return {**told, **counts, "accepted": accepted, "released": releases}
