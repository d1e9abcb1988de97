"""One file a target: how a compiled variant's files become a function. Each imports its own runtime and no other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slimline.artifact.signature import Signature

if TYPE_CHECKING:
    from slimline.data.windows import Windows
    from slimline.generation import Generator
    from slimline.generation.prompt_cache import PromptCache

Array = NDArray[Any]
Outputs = Array | dict[str, Array]
"""One array [N, …], or several by the signature's names."""
Infer = Callable[[Mapping[str, Array]], Outputs]
"""Inputs by name, as `Signature.checked` gives them -> outputs, N at least 1."""
MakeGenerator = Callable[["Windows", "PromptCache"], "Generator"]
"""The tokenizer of a language model, and what keeps the beginnings of prompts -> what goes on from a prompt, over the same weights."""


@dataclass(frozen=True)
class Language:
    """A loaded language model: the logits of whole windows, how it runs, how many tokens it has, and its generator, made on demand."""

    infer: Infer
    execution: dict[str, str]
    generating: MakeGenerator
    vocabulary: int


def writable(values: Array) -> Array:
    """The array itself, or a copy where it is no plain one that a runtime may share."""
    return np.require(values, requirements=["C", "W"])


def of_places(logits: Array, mask: Array) -> Array:
    """Logits [N, tokens, vocabulary] of a language model, 0 at places that are filled up, as its net itself gives them."""
    empty = mask == 0
    if empty.any():
        logits = writable(logits)
        logits[empty] = 0
    return logits


def by_name(found: Iterable[Array], signature: Signature) -> Outputs:
    """What a graph gives, in order, as the model gives it.

    Raises:
        ValueError: it gives more or fewer arrays than the signature says.
    """
    values = list(found)
    names = signature.outputs or ("",)
    if len(values) != len(names):
        raise ValueError(f"it gives {len(values)} outputs, the manifest names {len(names)}")
    return dict(zip(signature.outputs, values, strict=True)) if signature.outputs else values[0]


def pieces(arrays: Mapping[str, Array], size: int) -> list[dict[str, Array]]:
    """The samples of a batch, at most so many at a time."""
    count = len(next(iter(arrays.values())))
    return [{name: values[start : start + size] for name, values in arrays.items()} for start in range(0, count, size)]


def joined(parts: Sequence[Sequence[Array]]) -> list[Array]:
    """The outputs of all pieces, each output as one array."""
    return list(parts[0]) if len(parts) == 1 else [np.concatenate(found) for found in zip(*parts, strict=True)]
