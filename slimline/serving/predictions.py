"""Samples of several requests as one batch of the model, and each request's share of what it gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimline.errors import ArtifactError
from slimline.loaders import Outputs
from slimline.model import Model
from slimline.serving.batches import Job, answer_each
from slimline.serving.raw_inputs import Arrays, Samples

MOST_FILLING = 1.2
"""Numbers of a batch over those that its samples need: what fills up takes as long as what is asked."""


@dataclass(frozen=True)
class Predictor:
    """Answers jobs of samples, at most `size` of them at once."""

    model: Model
    size: int

    def __call__(self, jobs: Sequence[Job[Samples]]) -> None:
        """Answer each job with its outputs, or with what the model refused."""
        for group in _alike(jobs):
            answer_each(group, self._answer)

    def _answer(self, group: Sequence[Job[Samples]]) -> None:
        outputs = self.outputs(joined([job.given for job in group], self.model))
        first = 0
        for job in group:
            job.done(share(outputs, first, first + job.size))
            first += job.size

    def outputs(self, arrays: Arrays) -> Outputs:
        """What the model gives, `size` samples at a time."""
        count = len(next(iter(arrays.values())))
        parts = [
            self.model.run({name: values[start : start + self.size] for name, values in arrays.items()})
            for start in range(0, count, self.size)
        ]
        if len(parts) == 1:
            return parts[0]
        if isinstance(parts[0], dict):
            return {name: np.concatenate([part[name] for part in parts if isinstance(part, dict)]) for name in parts[0]}
        return np.concatenate([part for part in parts if not isinstance(part, dict)])


def _alike(jobs: Sequence[Job[Samples]]) -> Iterator[list[Job[Samples]]]:
    """Jobs that make one batch: of equal shapes, or of raw rows that the preprocessing fills up together, and not by much."""
    with_rows = sorted((job for job in jobs if job.given.rows is not None), key=lambda job: job.given.width)
    group: list[Job[Samples]] = []
    for job in with_rows:
        if group and _filling([*group, job]) > MOST_FILLING:
            yield group
            group = []
        group.append(job)
    if group:
        yield group
    others = sorted((job for job in jobs if job.given.rows is None), key=lambda job: str(job.given.shapes))
    for _, group_of_shape in groupby(others, key=lambda job: job.given.shapes):
        yield list(group_of_shape)


def _filling(jobs: Sequence[Job[Samples]]) -> float:
    """The numbers of a batch that is filled up, over those that are needed."""
    widest = max(job.given.width for job in jobs)
    return sum(job.size * widest for job in jobs) / sum(job.size * job.given.width for job in jobs)


def joined(given: Sequence[Samples], model: Model) -> Arrays:
    """The inputs of several requests as one batch; where shapes differ the preprocessing makes them of all rows."""
    if len(given) == 1:
        return given[0].arrays
    if len({one.shapes for one in given}) == 1:
        return {name: np.concatenate([one.arrays[name] for one in given]) for name in given[0].arrays}
    assert model.preprocessing is not None
    rows: dict[str, list[Any]] = {name: [] for name in model.preprocessing.columns}
    for one in given:
        assert one.rows is not None
        for name, column in rows.items():
            column.extend(one.rows[name])
    return model.signature.checked(model.preprocessing(rows))


def share(outputs: Outputs, first: int, end: int) -> Outputs:
    """The outputs of some samples."""
    return {name: values[first:end] for name, values in outputs.items()} if isinstance(outputs, dict) else outputs[first:end]


def require_finite(outputs: Outputs) -> None:
    """Hold outputs to being finite numbers.

    Raises:
        ArtifactError: one is not.
    """
    for values in outputs.values() if isinstance(outputs, dict) else (outputs,):
        if not np.isfinite(values).all():
            raise ArtifactError("the model gives no finite numbers for this; its weights are damaged, or its precision is too low")


def plain(value: Any) -> Any:
    """An answer as JSON has it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)


def vectors(outputs: Outputs, model: Model) -> NDArray[np.float32]:
    """The vectors of an embedding model [N, width]."""
    found = model.reading.answers(outputs)
    return np.ascontiguousarray(found.reshape(len(found), -1), dtype=np.float32)
