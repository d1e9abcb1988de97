"""The signature of a model, derived from real samples (see slimline.artifact.signature)."""

from collections.abc import Iterable

from torch import Tensor

from slimline.artifact.signature import Arrays, InputSignature, Signature
from slimline.data.batch import Batch, Tensors
from slimline.errors import DataError

__all__ = ["LARGEST", "SMALLEST", "Arrays", "InputSignature", "Signature", "shortened", "signature_of"]

LARGEST = 65_536
"""Of an axis that varies, where nothing else bounds it."""
SMALLEST = 2
"""torch.export takes an axis of 1 for one that never varies."""


def signature_of(batches: Iterable[Batch], outputs: Tensors) -> Signature:
    """The signature of batches of real samples; an axis whose size is not the same in all of them varies, between what was seen."""
    found: dict[str, list[Tensor]] = {}
    for batch in batches:
        for name, value in batch.items():
            found.setdefault(name, []).append(value)
    inputs = tuple(_of_input(name, values) for name, values in found.items())
    return Signature(inputs=inputs, outputs=() if isinstance(outputs, Tensor) else tuple(outputs))


def shortened(samples: Batch, signature: Signature) -> Batch:
    """The samples with each axis that varies cut to about half, no shorter than it is ever."""
    half = dict(samples)
    for one in signature.inputs:
        for axis, (shortest, _) in one.varies.items():
            size = samples[one.name].shape[axis + 1]
            half[one.name] = half[one.name].narrow(axis + 1, 0, min(size, max(shortest, (size + 2) // 2)))
    return half


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
