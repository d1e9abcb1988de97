"""The lengths at which models are timed beside their sample's own, where an axis of an input varies from sample to sample."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimline.artifact.signature import Arrays, InputSignature, Signature
from slimline.data.samples import Split

LENGTH = "length_"
"""What the names of such batches begin with; each holds one sample."""
LOOKED_AT = 64
"""Samples of test by which the usual length is told."""


def breach(signature: Signature, lengths: Sequence[int] | None) -> Iterator[str]:
    """What is wrong with the lengths that params.yaml states, a line each."""
    if not lengths:
        return
    bounds = [bound for one in signature.inputs for bound in one.varies.values()]
    if not bounds:
        yield f"params.yaml: evaluate.lengths: no axis of {signature.text} varies; leave lengths out"
        return
    low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
    for length in lengths:
        if not low <= length <= high:
            yield f"params.yaml: evaluate.lengths: {length} lies outside {low} to {high}, which the samples have; give one within"


def timed_lengths(signature: Signature, lengths: Sequence[int] | None, test: Split) -> tuple[int, ...]:
    """The stated lengths; where none are stated and an axis varies, the median of some test samples and the longest of all."""
    varying = [one for one in signature.inputs if one.varies]
    if lengths is not None or not varying:
        return tuple(lengths or ()) if varying else ()
    one, axis = varying[0], min(varying[0].varies)
    alone = test.batches([[row] for row in range(min(LOOKED_AT, len(test)))])
    low, high = one.varies[axis]
    median = int(np.median([samples.inputs[one.name].shape[1 + axis] for samples in alone]))
    return tuple(dict.fromkeys((min(max(median, low), high), high)))


def at_lengths(inputs: Arrays, signature: Signature, lengths: Sequence[int]) -> dict[str, dict[str, NDArray[Any]]]:
    """A batch of one sample for each length: batch name -> input -> values, repeated from their beginning or cut."""
    return {
        f"{LENGTH}{length}": {one.name: filled(inputs[one.name], (1, *_shape(one, length))) for one in signature.inputs}
        for length in lengths
    }


def filled(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Values of another shape: what is too short, or too few, is repeated from its beginning, what is too long is cut."""
    for axis, size in enumerate(shape):
        values = values.take(np.arange(size) % values.shape[axis], axis)
    return values


def apart(facts: Mapping[str, Any], lengths: Sequence[int]) -> dict[str, Any]:
    """Take what was measured at lengths out of the facts of the batches: length -> model -> figure -> values."""
    models = {"baseline": facts["baseline"], "same_runtime_baseline": facts["same_runtime_baseline"], **facts["variants"]}
    return {str(length): {name: _taken(found, f"{LENGTH}{length}") for name, found in models.items()} for length in lengths}


def _taken(found: dict[str, Any], batch: str) -> dict[str, Any]:
    return {figure: values.pop(batch) for figure, values in found.items() if isinstance(values, dict) and batch in values}


def _shape(one: InputSignature, length: int) -> tuple[int, ...]:
    bounds = [one.varies.get(axis, (size, size)) for axis, size in enumerate(one.shape)]
    return tuple(min(max(length, low), high) for low, high in bounds)
