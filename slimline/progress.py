"""How far a training is, as a stage's line says it, and as the run that started the stage reads it there."""

import re
from dataclasses import dataclass

_LINE = re.compile(r"^[\w.-]+: epoch (\d{1,9}) of (\d{1,9}), ")


@dataclass(frozen=True)
class Progress:
    """So many of so many epochs are done; a training may end before the last one, where nothing gets better."""

    done: int
    total: int


def epoch_line(who: str, number: int, total: int, loss: float, metric: float) -> str:
    """The line of an epoch: its training loss, and the gate's metric on validation."""
    return f"{who}: epoch {number} of {total}, loss {loss:.4f}, validation {metric:.4f}"


def read_progress(line: str) -> Progress | None:
    """What `epoch_line` said; None where the line says something else."""
    found = _LINE.match(line)
    return None if found is None or int(found[2]) == 0 else Progress(int(found[1]), int(found[2]))
