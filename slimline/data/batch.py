"""Named tensors of N samples: a model's inputs, always, and what it gives and should give where that is more than one tensor."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from numpy.typing import NDArray
from torch import Tensor

Batch = Mapping[str, Tensor]
"""A model's inputs by the names of `forward`'s parameters, each [N, …] of any dtype; a model is called as `model(**batch)`."""
Tensors = Tensor | Mapping[str, Tensor]
"""What a model gives, or should give, for N samples: one tensor [N, …], or several by name."""
Some = TypeVar("Some", bound=Tensors)
Rows = slice | Tensor | Sequence[int]


def count(values: Tensors) -> int:
    """How many samples there are."""
    return len(values if isinstance(values, Tensor) else next(iter(values.values())))


def take(values: Some, rows: Rows) -> Some:
    """The samples of these rows."""
    if isinstance(values, Tensor):
        return cast("Some", values[rows])
    return cast("Some", {name: value[rows] for name, value in values.items()})


def split(values: Some, size: int) -> Iterator[Some]:
    """All samples in order, so many at a time; the last time what is left."""
    return (take(values, slice(start, start + size)) for start in range(0, count(values), size))


def joined(parts: Sequence[Some]) -> Some:
    """The samples of all parts as one."""
    first = parts[0]
    if isinstance(first, Tensor):
        return cast("Some", torch.cat(list(cast("Sequence[Tensor]", parts))))
    batches = cast("Sequence[Batch]", parts)
    return cast("Some", {name: torch.cat([part[name] for part in batches]) for name in first})


def tensors(values: Tensors) -> dict[str, Tensor]:
    """Every tensor by its name; a single one has none, an empty text."""
    return {"": values} if isinstance(values, Tensor) else dict(values)


def flat(values: Tensors) -> Tensor:
    """All numbers of each sample in one row, float32 [N, numbers]."""
    return torch.cat([value.flatten(1).float() if value.dim() > 1 else value[:, None].float() for value in tensors(values).values()], dim=1)


def moved(values: Some, device: torch.device) -> Some:
    """The same on a device; what is there already is no copy."""
    if isinstance(values, Tensor):
        return cast("Some", values.to(device))
    return cast("Some", {name: value.to(device) for name, value in values.items()})


def clone(values: Some) -> Some:
    """Copies that nothing else holds."""
    if isinstance(values, Tensor):
        return cast("Some", values.clone())
    return cast("Some", {name: value.clone() for name, value in values.items()})


def as_arrays(values: Tensors) -> Any:
    """The same numbers for a runtime that knows no tensors: one array, or several by name."""
    return values.numpy() if isinstance(values, Tensor) else {name: value.numpy() for name, value in values.items()}


def as_tensors(values: NDArray[Any] | Mapping[str, NDArray[Any]]) -> Tensors:
    """What a runtime gave, as an objective takes it."""
    return {name: torch.from_numpy(value) for name, value in values.items()} if isinstance(values, Mapping) else torch.from_numpy(values)
