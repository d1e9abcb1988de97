"""How a bisection ended: what differs between the two runs, which runs were made, and what each change comes from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slimline.errors import SlimlineError
from slimline.nights.attribution import UNDECIDED, Cell, Finding, Value
from slimline.nights.night import Figure


@dataclass(frozen=True)
class Bisected:
    """`fixed` are what differs and could not be swapped here, `failed` the runs that could not be made and why."""

    run_a: str
    run_b: str
    differs: Sequence[str]
    fixed: Sequence[str]
    made: Sequence[Cell]
    failed: Mapping[str, str]
    findings: Sequence[Finding]
    seconds: float

    @property
    def exit_code(self) -> int:
        """1: a change could not be decided, since a run could not be made; 0: each has its cause, or nothing changed."""
        return SlimlineError.exit_code if any(one.cause == UNDECIDED for one in self.findings) else 0

    @property
    def message(self) -> str:
        """One line for people."""
        if not self.findings:
            return "no figure and no verdict differs beyond the noise: nothing was run"
        counts = Counter(one.cause for one in self.findings)
        told = "; ".join(f"{count} {'' if cause == UNDECIDED else 'from '}{cause}" for cause, count in counts.items())
        return f"{len(self.findings)} changes, {len(self.made)} runs made: {told}"

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "exit_code": self.exit_code,
            "message": self.message,
            "seconds": round(self.seconds, 2),
            "run_a": self.run_a,
            "run_b": self.run_b,
            "differs": list(self.differs),
            "not_swapped": list(self.fixed),
            "failed": dict(self.failed),
            "findings": [_plain(one) for one in self.findings],
        }


def _plain(found: Finding) -> dict[str, Any]:
    moved = found.moved
    return {
        "variant": moved.pair[0],
        "target": moved.pair[1],
        "figure": moved.name,
        "a": _number(moved.before),
        "b": _number(moved.after),
        "made_again": {cell.name: _number(value) for cell, value in found.values.items()},
        "cause": found.cause,
        "why": found.why,
    }


def _number(value: Value | None) -> float | str | None:
    return value.value if isinstance(value, Figure) else value
