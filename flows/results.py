"""How a run ended: its states, its exit code, and what reports/summary.json says."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slimline.errors import InputError, NothingPassed, SlimlineError

SUMMARY = "reports/summary.json"
RELEASES = "reports/releases.json"
DONE = ("Completed", "Restored", "Cached")


@dataclass(frozen=True)
class Outcome:
    """One run. `states` holds every stage's state, `failures` the exit code of each that failed, `reports` the folder of its pages.

    `summary` is there where the report was made, be it over what stands alone.
    """

    reports: Path
    seconds: float
    states: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    summary: Mapping[str, Any] | None = None
    releases: Mapping[str, str] | None = None
    experiment: str | None = None
    remote: str | None = None

    @property
    def index(self) -> Path:
        """The decision page."""
        return self.reports / "index.html"

    @property
    def accepted(self) -> int | None:
        """How many variants the gate accepted; None where this run did not reach the report."""
        if self.summary is None:
            return None
        return [row["verdict"] for row in self.summary["variants"]].count("accept")

    @property
    def exit_code(self) -> int:
        """2: the user's input is wrong; 1: something else failed; 3: all ran and nothing passed the gate; 0: all well."""
        if self.failures:
            wrong_input = InputError.exit_code in self.failures.values()
            return InputError.exit_code if wrong_input else SlimlineError.exit_code
        if not all(state in DONE for state in self.states.values()):
            return SlimlineError.exit_code
        return NothingPassed.exit_code if self.accepted == 0 else 0

    @property
    def message(self) -> str:
        """One line for people: how many stages ended how, and what failed."""
        counts = Counter(self.states.values())
        parts = [f"{counts[state]} {state.lower()}" for state in (*DONE, "Failed", "NotReady") if counts[state]]
        if self.failures:
            parts.append("failed: " + ", ".join(sorted(self.failures)))
            parts += ["the report shows what stands"] if self.summary is not None else []
        elif self.accepted == 0:
            parts.append("nothing passed the gate")
        return "; ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "exit_code": self.exit_code,
            "message": self.message,
            "seconds": round(self.seconds, 2),
            "stages": dict(self.states),
            "failures": dict(self.failures),
            "accepted": self.accepted,
            "releases": self.releases,
            "experiment": self.experiment,
            "report": str(self.index),
        }


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file's content; None where there is no such file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content
