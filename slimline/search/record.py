"""One tried chain, as the journal keeps it and the page shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slimline.search.chains import LETTERS, Order, Step
from slimline.search.entries import Entry, entries_of
from slimline.search.figures import Figures


@dataclass(frozen=True)
class Tried:
    """A chain and what is known of it.

    `brief` and `full` are its figures after the brief and the full training, None where it did not come to that; `reason` says why it
    went no further, `put_off` what the machine failed by, after which another call tries it again; `seconds` is the time of its own
    stages, those that another chain had made already not counted, and `brief_seconds` that of each in the brief training.
    """

    number: int
    chain: tuple[Step, ...]
    brief: Figures | None = None
    full: Figures | None = None
    reason: str | None = None
    seconds: float = 0.0
    put_off: str | None = None
    brief_seconds: tuple[float, ...] = ()

    @property
    def order(self) -> Order:
        """The methods' names."""
        return tuple(step.name for step in self.chain)

    @property
    def name(self) -> str:
        """The variant at its end, trained in full."""
        return self.entries[-1].name

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Its variants, trained in full."""
        return entries_of(self.chain)

    @property
    def letters(self) -> str:
        """Its techniques in order, such as PLQ."""
        return "".join(LETTERS[step.offered.stage] for step in self.chain)

    @property
    def words(self) -> str:
        """The chain for people: methods in order, each with its strengths."""
        return " → ".join(f"{step.name}{_strengths(step.chosen)}" for step in self.chain)

    def as_json(self) -> dict[str, Any]:
        """For search.json."""
        return {
            "number": self.number,
            "chain": [{"name": step.name, "stage": step.offered.stage, "strengths": dict(step.chosen)} for step in self.chain],
            "order": self.letters,
            "variant": self.name,
            "entries": [{"section": entry.stage, "name": entry.name, "entry": dict(entry.content)} for entry in self.entries],
            "brief": None if self.brief is None else self.brief.as_json(),
            "full": None if self.full is None else self.full.as_json(),
            "reason": self.reason,
            "put_off": self.put_off,
            "seconds": round(self.seconds, 2),
        }


def noted(number: int, chain: Sequence[Step], note: Mapping[str, Any]) -> Tried:
    """A chain with what the journal has noted of it."""
    brief, full = (Figures(**note[key]) if note.get(key) else None for key in ("brief", "full"))
    return Tried(
        number,
        tuple(chain),
        brief,
        full,
        reason=note.get("reason"),
        seconds=float(note.get("seconds", 0.0)),
        put_off=note.get("put_off"),
        brief_seconds=tuple(note.get("brief_seconds", ())),
    )


def _strengths(chosen: Mapping[str, Any]) -> str:
    told = ", ".join(f"{knob} {_plain(value)}" for knob, value in chosen.items())
    return f" ({told})" if told else ""


def _plain(value: Any) -> str:
    return str(value).replace("'", "") if isinstance(value, dict | list) else f"{value:g}" if isinstance(value, float) else str(value)
