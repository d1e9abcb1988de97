"""Where a long training leaves its finished rounds."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor


class Rounds(Protocol):
    """Where a method of many rounds leaves each finished one, so that a run that was stopped goes on from there."""

    def load(self, number: int) -> Mapping[str, Tensor] | None:
        """The tensors of a round that was finished before, or None."""

    def save(self, number: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep the tensors of a round that is finished."""
