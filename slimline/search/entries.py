"""A chain as entries of params.yaml, named after what they say: a common beginning is the same variants, and so the same stages."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slimline.params import CONFIGS, TEACHER
from slimline.params.student import VARIANT
from slimline.search.brief import shortened
from slimline.search.chains import SOURCE_LAYERS, STUDENT, Step

HASH_CHARACTERS = 8


@dataclass(frozen=True)
class Entry:
    """One variant as params.yaml has it: `stage` is its section."""

    stage: str
    name: str
    content: Mapping[str, Any]

    @property
    def address(self) -> str:
        """DVC's name of the stage that makes it."""
        return f"{self.stage}@{self.name}"


def entries_of(chain: Sequence[Step], epochs_share: float = 1.0) -> tuple[Entry, ...]:
    """The chain's variants, each starting from the one before; with a share below 1 every training is that much shorter."""
    made: list[Entry] = []
    for step in chain:
        source = made[-1].name if made else TEACHER
        content = shortened(step.offered.stage, placed(step, source), epochs_share)
        made.append(Entry(step.offered.stage, named(step, content), content))
    return tuple(made)


def placed(step: Step, source: str) -> dict[str, Any]:
    """The entry with its source; distillation in a chain has the variant before it as the student, which the teacher teaches."""
    entry = {"source": source, **step.offered.entry(step.chosen)}
    if step.offered.stage != "distill" or source == TEACHER:
        return entry
    return {key: value for key, value in entry.items() if key != SOURCE_LAYERS} | {STUDENT: {VARIANT: source}}


def named(step: Step, content: Mapping[str, Any]) -> str:
    """A name that is equal where stage, entry and, by the source's name, all before it are equal."""
    told = json.dumps([step.offered.stage, content], sort_keys=True)
    return f"{step.name}-{hashlib.sha256(told.encode()).hexdigest()[:HASH_CHARACTERS]}"


def sections(entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """The entries by section of params.yaml, each once."""
    found: dict[str, dict[str, Any]] = {stage: {} for stage in CONFIGS}
    for entry in entries:
        found[entry.stage][entry.name] = dict(entry.content)
    return found


def unique(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Each variant once."""
    yield from {entry.name: entry for entry in entries}.values()
