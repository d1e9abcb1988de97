"""Where a long training leaves what it has done, so that a run that was stopped goes on from there with the same bytes."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping

from torch import Tensor

EVERY_S = 60.0
"""A training is kept no more often: what a stop costs, and a shorter training is not kept at all."""


class Checkpoints(ABC):
    """What the rounds and epochs of one stage have come to, by name; a name belongs to the same inputs for ever."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._claimed = Counter[str]()

    @abstractmethod
    def load(self, name: str) -> Mapping[str, Tensor] | None:
        """The tensors that were kept under this name, or None."""

    @abstractmethod
    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep these tensors under this name, in place of others."""

    def claim(self, name: str) -> str:
        """A name of one's own: of trainings that begin alike the second is another one."""
        self._claimed[name] += 1
        return f"{name}-{self._claimed[name]}"


def round_name(number: int) -> str:
    """What a finished round of a method is called."""
    return f"round-{number:03}"
