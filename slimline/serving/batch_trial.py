"""Whether a model's answers depend on what else is in the batch: int8 whose ranges are found per batch does that, and is not batched."""

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimline.errors import InputError
from slimline.loaders import Outputs
from slimline.model import Model
from slimline.serving.predictions import joined, share
from slimline.serving.raw_inputs import Arrays, Samples, of_rows

TEXTS = ("fine", "The soup was cold, and the rain did not stop all day.", "a warm day at the sea " * 6, "it was")
FEWEST = 2
"""Samples that are a batch."""
TOLERANCE, TOLERANCE_16_BITS = 1e-3, 3e-2
"""Of the outputs' length: what float32, and 16 bits, may differ by from another order of sums."""


def neighbours_matter(model: Model) -> float | None:
    """How far four samples' outputs move when they are given together, relative to their length; None where that is rounding."""
    samples = _trial(model)
    if len(samples) < FEWEST:
        return None
    alone = [model.run(one.arrays) for one in samples]
    together = model.run(joined(samples, model))
    moved = max(_distance(one, share(together, place, place + 1)) for place, one in enumerate(alone))
    low = str(getattr(model.manifest, "computes", "")).startswith(("bf16", "f16", "bfloat16", "float16"))
    low = low or model.execution.get("INFERENCE_PRECISION_HINT") in ("bf16", "f16")
    return moved if moved > (TOLERANCE_16_BITS if low else TOLERANCE) else None


def _trial(model: Model) -> list[Samples]:
    """Four samples: texts of different lengths where the release reads texts, else numbers drawn at random."""
    preprocessing = model.preprocessing
    if preprocessing is not None and preprocessing.kind in ("texts", "tokens", "windows"):
        found: list[Samples] = []
        for text in TEXTS:
            with suppress(InputError):  # too short or too long for this model
                found.append(of_rows({preprocessing.columns[0]: [text]}, preprocessing, model.signature))
        return found
    draws = np.random.default_rng(0)
    return [Samples(_drawn(model, draws)) for _ in TEXTS]


def _drawn(model: Model, draws: np.random.Generator) -> Arrays:
    def values(dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        return draws.normal(size=shape).astype(dtype) if dtype.startswith("float") else draws.integers(0, 2, shape).astype(dtype)

    return model.signature.checked({one.name: values(one.dtype, (1, *one.shape)) for one in model.signature.inputs})


def _distance(one: Outputs, other: Outputs) -> float:
    pairs = [(one[name], other[name]) for name in one] if isinstance(one, dict) and isinstance(other, dict) else [(one, other)]
    return max(_relative(np.asarray(first), np.asarray(second)) for first, second in pairs)


def _relative(one: NDArray[Any], other: NDArray[Any]) -> float:
    cut = tuple(slice(0, min(sizes)) for sizes in zip(one.shape, other.shape, strict=True))
    first, second = one[cut].astype(np.float64), other[cut].astype(np.float64)
    return float(np.linalg.norm(first - second) / max(float(np.linalg.norm(first)), 1e-12))
