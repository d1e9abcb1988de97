"""What a model's outputs say, from arrays alone: an application that predicts needs no torch, and neither does this file.

The objectives answer by the same readings, so that a release says of a sample what its evaluation said.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from slimline.artifact.border import told_as
from slimline.errors import ArtifactError

Arrays = NDArray[Any] | Mapping[str, NDArray[Any]]
"""A model's outputs: one array [N, …], or several by name."""
NAME = "name"
LONGEST = 100
"""Characters of a foreign name that are shown."""
IGNORED = -100
BYTE = 256
COMMONEST, NUMBERS, MOST_TOKENS = 3, 4, 8
"""How many classes of a picture are named, how many numbers of a vector, how many tokens of a text."""
STRICT = ConfigDict(extra="ignore", arbitrary_types_allowed=True)


class Reading(Protocol):
    """How outputs are read; `confidence` gives None where the model does not say how sure it is."""

    def answers(self, outputs: Arrays) -> NDArray[Any]:
        """The answer to each sample, [N] or [N, …]."""

    def confidence(self, outputs: Arrays) -> NDArray[np.float64] | None:  # noqa: ARG002
        """How sure the model is of each answer, from 0 to 1 [N]; by default it does not say."""
        return None

    def shown(self, answer: Any) -> str:
        """An answer in a few characters, for people."""


@dataclass(frozen=True, config=STRICT)
class Classes(Reading):
    """One of several classes: logits [N, classes], or one logit [N] or [N, 1] for the second of two."""

    labels: tuple[str, ...]

    def logits(self, outputs: Arrays) -> NDArray[Any]:
        """Logits [N, classes]; one logit z is that of the second class, beside 0 for the first."""
        given = only(outputs)
        if given.ndim > 1 and given.shape[1:] != (1,):
            return given
        second = given.reshape(-1, 1)
        return np.concatenate([np.zeros_like(second), second], axis=1)

    def answers(self, outputs: Arrays) -> NDArray[Any]:
        """Class indices [N]."""
        return np.asarray(self.logits(outputs).argmax(axis=1))

    def confidence(self, outputs: Arrays) -> NDArray[np.float64]:
        """The softmax of each answer [N]."""
        values = self.logits(outputs).astype(np.float64)
        shares = np.exp(values - values.max(axis=1, keepdims=True))
        found: NDArray[np.float64] = shares.max(axis=1) / shares.sum(axis=1)
        return found

    def shown(self, answer: Any) -> str:
        """The class's name."""
        return self.labels[int(answer)]


@dataclass(frozen=True, config=STRICT)
class Labels(Reading):
    """Any of several labels: logits [N, labels]."""

    labels: tuple[str, ...]

    def answers(self, outputs: Arrays) -> NDArray[Any]:
        """Which labels are there, bool [N, labels]."""
        return np.asarray(only(outputs) > 0)

    def shown(self, answer: Any) -> str:
        """The labels' names."""
        return ", ".join(label for label, there in zip(self.labels, answer, strict=True) if there) or "none"


@dataclass(frozen=True, config=STRICT)
class Numbers(Reading):
    """Numbers [N] or [N, numbers], standardised: (own - mean) / scale."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    unit: str

    def answers(self, outputs: Arrays) -> NDArray[Any]:
        """The numbers in their own unit, float64 [N], or [N, numbers] where there are several."""
        rows = only(outputs).reshape(-1, len(self.names)).astype(np.float64)
        own: NDArray[Any] = rows * np.asarray(self.scale) + np.asarray(self.mean)
        return own[:, 0] if len(self.names) == 1 else own

    def shown(self, answer: Any) -> str:
        """The number with its unit; several with their names."""
        values = np.asarray(answer, dtype=np.float64).reshape(-1)
        if len(values) == 1:
            return f"{values[0]:.4g} {self.unit}".rstrip()
        return ", ".join(f"{name} {value:.4g}" for name, value in zip(self.names, values, strict=True))


@dataclass(frozen=True, config=STRICT)
class Pixels(Reading):
    """A class for every pixel: logits [N, classes, …]."""

    labels: tuple[str, ...]
    ignore_index: int = IGNORED

    def answers(self, outputs: Arrays) -> NDArray[Any]:
        """Class indices [N, …], of one byte each where that is enough."""
        found: NDArray[Any] = only(outputs).argmax(axis=1).astype(np.uint8 if len(self.labels) <= BYTE else np.int32)
        return found

    def shown(self, answer: Any) -> str:
        """The commonest classes with their shares of the pixels."""
        classes, pixels = np.unique(np.asarray(answer), return_counts=True)
        largest = np.argsort(-pixels, kind="stable")[:COMMONEST]
        return ", ".join(f"{self._called(int(classes[place]))} {100 * pixels[place] / pixels.sum():.0f} %" for place in largest)

    def _called(self, index: int) -> str:
        return self.labels[index] if 0 <= index < len(self.labels) and index != self.ignore_index else "ignored"


@dataclass(frozen=True, config=STRICT)
class Vectors(Reading):
    """Vectors [N, …]."""

    def answers(self, outputs: Arrays) -> NDArray[Any]:
        """The vectors."""
        return only(outputs).astype(np.float32)

    def shown(self, answer: Any) -> str:
        """The first numbers of the vector."""
        values = np.asarray(answer).reshape(-1)
        return f"[{', '.join(f'{value:.3g}' for value in values[:NUMBERS])}{', …' if len(values) > NUMBERS else ''}]"


@dataclass(frozen=True, config=STRICT)
class NextTokens(Reading):
    """The token that comes next at every place of a text: logits [N, tokens, vocabulary]."""

    def answers(self, outputs: Arrays) -> NDArray[Any]:
        """Token numbers [N, tokens]."""
        return np.asarray(only(outputs).argmax(axis=2).astype(np.int32))

    def shown(self, answer: Any) -> str:
        """The first tokens by their numbers."""
        tokens = np.asarray(answer).reshape(-1)
        return f"tokens {' '.join(map(str, tokens[:MOST_TOKENS]))}{' …' if len(tokens) > MOST_TOKENS else ''}"


READINGS: dict[str, type[Reading]] = {
    "classification": Classes,
    "multilabel": Labels,
    "regression": Numbers,
    "segmentation": Pixels,
    "embedding": Vectors,
    "causal_lm": NextTokens,
}
"""Objective -> how its outputs are read."""


def reading_of(facts: Mapping[str, Any]) -> Reading | None:
    """The reading of an objective's plain data (slimline.objectives.described); None of an outsider's own.

    Raises:
        ArtifactError: the settings are none of the objective's.
    """
    name = facts.get(NAME)
    if not isinstance(name, str) or name not in READINGS:
        return None
    with told_as(lambda reason: ArtifactError(f"objective: {name[:LONGEST]}: {reason}")):
        return READINGS[name](**{key: value for key, value in facts.items() if key != NAME})


def only(outputs: Arrays) -> NDArray[Any]:
    """The one array, or the only one of a mapping.

    Raises:
        ValueError: there are several.
    """
    if not isinstance(outputs, Mapping):
        return outputs
    if len(outputs) != 1:
        raise ValueError(f"they are {', '.join(outputs)}, where one is read")
    return next(iter(outputs.values()))
