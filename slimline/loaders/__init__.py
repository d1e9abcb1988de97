"""One file a target: how a compiled variant's files become a function. Each imports its own runtime and no other."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Infer = Callable[[Floats], Floats]
"""Inputs [N, …] -> logits [N, classes], both float32, N at least 1."""


def writable(batch: Floats) -> Floats:
    """The batch itself, or a copy where it is no plain array that a runtime may share."""
    return np.require(batch, requirements=["C", "W"])
