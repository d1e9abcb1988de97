"""What launches of models that were timed together gave."""

from dataclasses import dataclass, field
from typing import Any

from slimline.measure.energy import Energy
from slimline.measure.timing import Turn


@dataclass
class Session:
    """What the launches of models that were timed together gave: batch -> model -> its turns, a list a launch; model -> peak memory in
    bytes and energy, and how its process was configured. Of a model in `failures` the rest is incomplete."""

    turns: dict[str, dict[str, list[list[Turn]]]]
    looks: dict[str, tuple[int, Energy]] = field(default_factory=dict)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
