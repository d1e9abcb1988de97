"""The reading of an outsider's own objective, which takes tensors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimline.data.batch import as_tensors
from slimline.objectives import Objective
from slimline.objectives.readings import Arrays


@dataclass(frozen=True)
class Owned:
    """Implements slimline.objectives.readings.Reading; the confidence is the objective's, where it has a method of that name."""

    objective: Objective

    def answers(self, outputs: Arrays) -> NDArray[Any]:
        """The objective's answers."""
        return np.asarray(self.objective.answers(as_tensors(outputs)))

    def confidence(self, outputs: Arrays) -> NDArray[np.float64] | None:
        """How sure the objective says that the model is."""
        told = getattr(self.objective, "confidence", None)
        return None if told is None else np.asarray(told(as_tensors(outputs)), dtype=np.float64)

    def shown(self, answer: Any) -> str:
        """As the objective shows it."""
        return self.objective.shown(answer)
