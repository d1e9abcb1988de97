"""What a timing of a language model calls: answers of a fixed length to prompts that were never seen."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slimline.generation import Sampling

if TYPE_CHECKING:
    from slimline.generation import Generator

PROMPT, NEW_TOKENS = "prompt", "new_tokens"
"""The arrays of a request: tokens [N, length], and how many each answer has [1]."""
STEP = 7919
"""By how much all tokens move from call to call, so that no cache knows the beginning of a prompt."""


def is_pace(arrays: Mapping[str, Any]) -> bool:
    """Whether arrays ask for answers, and not for outputs."""
    return arrays.keys() == {PROMPT, NEW_TOKENS}


def call_of(generator: "Generator", arrays: Mapping[str, NDArray[Any]]) -> Callable[[], object]:
    """A function that answers anew each time it is called."""
    prompts, sampling = arrays[PROMPT].astype(np.int64), Sampling(max_new_tokens=int(arrays[NEW_TOKENS][0]))
    known, calls = int(prompts.max()) + 1, iter(range(1, 2**62))

    def call() -> object:
        moved = (prompts + STEP * next(calls)) % known
        if len(moved) == 1:
            return generator.generate(moved[0].tolist(), sampling)
        return generator.generate_many(moved.tolist(), sampling)

    return call
