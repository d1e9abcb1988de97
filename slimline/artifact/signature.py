"""What a model takes and gives, as data: stored in manifests, exported by compilers, checked by the runtime. Nothing here needs torch."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from slimline.errors import DataError, InputError

NUMBERS = "fiub"
"""NumPy's kinds of numbers that a model takes: floats, whole numbers and yes or no."""
LONGEST = 300
"""Characters of given names that are shown."""
IDS, MASK = "input_ids", "attention_mask"
"""What nets of transformers call the numbers of tokens, and which places of them are there."""
Arrays = Mapping[str, NDArray[Any]]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Size = Annotated[int, Field(ge=0, le=2**31 - 1)]


class InputSignature(BaseModel):
    """One input: `shape` is that of one sample, `varies` names the axes of it (from 0) that differ, with the bounds that they keep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    dtype: str = Field(pattern=r"^(float32|float64|float16|int64|int32|int16|int8|uint8|bool)$")
    shape: tuple[Size, ...] = Field(max_length=8)
    varies: dict[int, tuple[Size, Size]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_bounds(self) -> Self:
        for axis, (low, high) in self.varies.items():
            if not 0 <= axis < len(self.shape) or not low <= self.shape[axis] <= high:
                raise ValueError(f"axis {axis} of {self.name!r} cannot vary from {low} to {high}")
        return self

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
    outputs: tuple[Name, ...] = Field(default=(), max_length=64)

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        for names in ([one.name for one in self.inputs], self.outputs):
            if len(set(names)) < len(names):
                raise ValueError(f"a name stands twice in {', '.join(names)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs' names, in order."""
        return tuple(one.name for one in self.inputs)

    @property
    def text(self) -> str:
        """Such as `ids: int64 [N, 2..128], mask: bool [N, 2..128]`."""
        return ", ".join(f"{one.name}: {one.text}" for one in self.inputs)

    def checked(self, given: Arrays | NDArray[Any], first: int = 0) -> dict[str, NDArray[Any]]:
        """Arrays by name, in the inputs' order and types, with at least one sample; one array where there is one input.

        `first` is the number of the first sample, for what is said.

        Raises:
            InputError: an input is missing, unknown, or of another shape or kind.
            DataError: a number is not finite.
        """
        if not isinstance(given, Mapping) and len(self.inputs) > 1:
            raise InputError(f"the model takes {self.text}; give a mapping of these names to arrays, not one array")
        arrays = dict(given) if isinstance(given, Mapping) else {self.inputs[0].name: given}
        if sorted(map(str, arrays)) != sorted(self.names):
            raise InputError(f"the model takes {self.text}; given: {', '.join(map(str, arrays))[:LONGEST] or 'nothing'}")
        found = {one.name: _checked(one, np.asarray(arrays[one.name]), first) for one in self.inputs}
        if len({len(values) for values in found.values()}) > 1:
            sizes = ", ".join(f"{name} {len(values)}" for name, values in found.items())
            raise InputError(f"every input holds the same samples; given: {sizes}")
        return found


def _checked(one: InputSignature, values: NDArray[Any], first: int) -> NDArray[Any]:
    if values.dtype.kind not in NUMBERS:
        raise InputError(f"input {one.name!r} holds {str(values.dtype)[:100]}; the model takes {one.text}")
    if values.ndim == 0 or len(values) == 0 or not one.takes(tuple(values.shape[1:])):
        raise InputError(f"input {one.name!r} has shape {list(values.shape)}; the model takes {one.text} with N at least 1")
    if one.dtype.startswith(("int", "uint", "bool")) and values.dtype.kind == "f":
        raise InputError(f"input {one.name!r} holds {values.dtype}; the model takes {one.text}")
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(values, dtype=one.dtype)
    if found.dtype.kind != "f" and not np.array_equal(found, values):
        raise DataError(f"input {one.name!r} holds numbers that are none of {one.dtype}; the model takes {one.text}")
    if found.dtype.kind == "f" and not (finite := np.isfinite(found).reshape(len(found), -1).all(axis=1)).all():
        sample = first + int(np.argmin(finite))
        raise DataError(f"input {one.name!r}: sample {sample} holds NaN or infinity (as {one.dtype}); mend or drop it")
    return found
