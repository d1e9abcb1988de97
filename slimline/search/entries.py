"""A chain as entries of params.yaml, named after what they say: a common beginning is the same variants, and so the same stages."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slimline.params import CONFIGS, TEACHER, config_class
from slimline.params.student import VARIANT
from slimline.search.chains import SOURCE_LAYERS, STUDENT, Step

HASH_CHARACTERS = 8
TRAININGS = ("recover", "training", "schedule")
"""Sections of an entry that have epochs of their own."""


CONTROLS = "controls"


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


def shortened(stage: str, content: Mapping[str, Any], share: float) -> dict[str, Any]:
    """The entry with so much of its epochs, at least one where it has any; those that the config has by default are counted too.

    Controls that a distillation would train beside its student are left out.
    """
    if share == 1:
        return dict(content)
    config = config_class(stage, str(content["method"])).model_validate(content)
    cut = dict(content)
    if (epochs := getattr(config, "epochs", None)) is not None:
        cut["epochs"] = _cut(epochs, share)
    if hasattr(config, CONTROLS):
        cut[CONTROLS] = []
    for part in TRAININGS:
        if (epochs := getattr(getattr(config, part, None), "epochs", None)) is not None and _has_epochs(config, part):
            cut[part] = {**cut.get(part, {}), "epochs": _cut(epochs, share)}
    return cut


def sections(entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """The entries by section of params.yaml, each once."""
    found: dict[str, dict[str, Any]] = {stage: {} for stage in CONFIGS}
    for entry in entries:
        found[entry.stage][entry.name] = dict(entry.content)
    return found


def _has_epochs(config: Any, part: str) -> bool:
    """A schedule of one shot trains nothing itself."""
    return part != "schedule" or config.schedule.kind != "one_shot"


def _cut(epochs: int, share: float) -> int:
    return math.ceil(epochs * share)


def unique(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Each variant once."""
    yield from {entry.name: entry for entry in entries}.values()
