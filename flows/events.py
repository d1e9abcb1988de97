"""What happens in a run, told to whoever listens in this process (the terminal); Prefect gets it as states and logs."""

from collections.abc import Callable
from dataclasses import dataclass

from flows.bisected import Bisected
from flows.results import Outcome
from flows.searched import Searched


@dataclass(frozen=True)
class Planned:
    """The DAG was read: how many stages it has, and how many of them are up to date."""

    stages: int
    clean: int
    workspace: str


@dataclass(frozen=True)
class Started:
    """A stage's process begins."""

    stage: str


@dataclass(frozen=True)
class Said:
    """A stage's process wrote a line."""

    stage: str
    line: str


@dataclass(frozen=True)
class Ended:
    """A stage is done; `state` is Completed, Restored, Cached, Failed or NotReady."""

    stage: str
    state: str
    seconds: float
    tail: tuple[str, ...] = ()


@dataclass(frozen=True)
class Noted:
    """Something that a person should know, such as what was repaired."""

    text: str


Event = Planned | Started | Said | Ended | Noted | Outcome | Searched | Bisected
listeners: list[Callable[[Event], None]] = []


def tell(event: Event) -> None:
    """Pass an event on."""
    for listener in listeners:
        listener(event)
