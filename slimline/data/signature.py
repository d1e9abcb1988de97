"""What a model takes and gives, as data: derived from real samples, stored in manifests, exported by compilers, checked by the runtime."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from slimline.data.batch import Batch, Tensors
from slimline.errors import DataError, InputError

LARGEST = 65_536
"""Of an axis that varies, where nothing else bounds it."""
SMALLEST = 2
"""torch.export takes an axis of 1 for one that never varies."""
NUMBERS = "fiub"
"""NumPy's kinds of numbers that a model takes: floats, whole numbers and yes or no."""
Arrays = Mapping[str, NDArray[Any]]


class InputSignature(BaseModel):
    """One input: `shape` is that of one sample, `varies` names the axes of it (from 0) that differ, with the bounds that they keep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    dtype: str = Field(pattern=r"^(float32|float64|float16|int64|int32|int16|int8|uint8|bool)$")
    shape: tuple[int, ...] = Field(max_length=8)
    varies: dict[int, tuple[int, int]] = Field(default_factory=dict)

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether one sample of this shape fits."""
        if len(shape) != len(self.shape):
            return False
        bounds = [self.varies.get(axis, (size, size)) for axis, size in enumerate(self.shape)]
        return all(low <= size <= high for size, (low, high) in zip(shape, bounds, strict=True))

    @property
    def text(self) -> str:
        """Such as `float32 [N, 1, 8, 8]` or `int64 [N, 2..128]`."""
        bounds = [self.varies.get(axis) for axis in range(len(self.shape))]
        sizes = [f"{bound[0]}..{bound[1]}" if bound else str(size) for size, bound in zip(self.shape, bounds, strict=True)]
        return f"{self.dtype} [{', '.join(['N', *sizes])}]"


class Signature(BaseModel):
    """The inputs in the order of the batch, and the names of the outputs: none where the model gives one tensor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[InputSignature, ...] = Field(min_length=1, max_length=64)
    outputs: tuple[str, ...] = ()

    def checked(self, given: Arrays | NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Arrays by name, in the inputs' order and types, with at least one sample; one array where there is one input.

        Raises:
            InputError: an input is missing, unknown, or of another shape or kind.
            DataError: a number is not finite.
        """
        arrays = dict(given) if isinstance(given, Mapping) else {self.inputs[0].name: given}
        known = [one.name for one in self.inputs]
        if sorted(arrays) != sorted(known):
            raise InputError(f"the model takes {', '.join(f'{one.name}: {one.text}' for one in self.inputs)}; given: {', '.join(arrays)}")
        found = {one.name: _checked(one, np.asarray(arrays[one.name])) for one in self.inputs}
        if len({len(values) for values in found.values()}) > 1:
            sizes = ", ".join(f"{name} {len(values)}" for name, values in found.items())
            raise InputError(f"every input holds the same samples; given: {sizes}")
        return found


def signature_of(batches: Iterable[Batch], outputs: Tensors) -> Signature:
    """The signature of batches of real samples; an axis whose size is not the same in all of them varies, between what was seen."""
    found: dict[str, list[Tensor]] = {}
    for batch in batches:
        for name, value in batch.items():
            found.setdefault(name, []).append(value)
    inputs = tuple(_of_input(name, values) for name, values in found.items())
    return Signature(inputs=inputs, outputs=() if isinstance(outputs, Tensor) else tuple(outputs))


def _of_input(name: str, values: list[Tensor]) -> InputSignature:
    shapes = [tuple(value.shape[1:]) for value in values]
    if len({len(shape) for shape in shapes}) > 1:
        raise DataError(
            f"input {name!r} has {sorted({len(shape) for shape in shapes})} axes in different batches; give it one number of axes"
        )
    sizes = list(zip(*shapes, strict=True))
    varies = {axis: (max(SMALLEST, min(seen)), max(seen)) for axis, seen in enumerate(sizes) if len(set(seen)) > 1}
    dtype = str(values[0].dtype).removeprefix("torch.")
    return InputSignature(name=name, dtype=dtype, shape=tuple(max(seen) for seen in sizes), varies=varies)


def _checked(one: InputSignature, values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind not in NUMBERS:
        raise InputError(f"input {one.name!r} holds {str(values.dtype)[:100]}; the model takes {one.text}")
    if values.ndim == 0 or len(values) == 0 or not one.takes(tuple(values.shape[1:])):
        raise InputError(f"input {one.name!r} has shape {list(values.shape)}; the model takes {one.text} with N at least 1")
    if one.dtype.startswith(("int", "uint", "bool")) and values.dtype.kind == "f":
        raise InputError(f"input {one.name!r} holds {values.dtype}; the model takes {one.text}")
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(values, dtype=one.dtype)
    if found.dtype.kind == "f" and not (finite := np.isfinite(found).reshape(len(found), -1).all(axis=1)).all():
        raise DataError(f"input {one.name!r}: sample {int(np.argmin(finite))} holds NaN or infinity (as {one.dtype}); mend or drop it")
    return found
