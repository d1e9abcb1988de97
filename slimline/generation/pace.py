"""What a timing of a language model calls: answers of a fixed length to prompts that were never seen, told in their two parts.

Reading a prompt, until the first token is there, is prefill; a token after it is decode. Both are told by the clocks of one answer: the
difference of two answers, one of them of one token, is that of two large numbers where prompts are long, and was below zero at times.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slimline.generation import Sampling
from slimline.measure.timing import Sample, Turn, take_turn

if TYPE_CHECKING:
    from slimline.generation import Generation, Generator

PROMPT, NEW_TOKENS = "prompt", "new_tokens"
"""The arrays of a request: tokens [N, length], and how many each answer has [1], at least 2."""
STEP = 7919
"""By how much all tokens move from call to call, so that no cache knows the beginning of a prompt."""
LONG_MS = 300.0
"""An answer that takes longer is given once to warm up and once as the sample of its turn."""


@dataclass(frozen=True)
class Answered:
    """What the answers of one call took: until all had their first token, and each token after it."""

    prefill: Sample
    decode: Sample


def is_pace(arrays: Mapping[str, Any]) -> bool:
    """Whether arrays ask for answers, and not for outputs."""
    return arrays.keys() == {PROMPT, NEW_TOKENS}


def call_of(generator: "Generator", arrays: Mapping[str, NDArray[Any]]) -> Callable[[], Answered]:
    """A function that answers anew each time it is called."""
    prompts, sampling = arrays[PROMPT].astype(np.int64), Sampling(max_new_tokens=int(arrays[NEW_TOKENS][0]))
    known, calls = int(prompts.max()) + 1, iter(range(1, 2**62))

    def call() -> Answered:
        moved = (prompts + STEP * next(calls)) % known
        if len(moved) == 1:
            return parted([generator.generate(moved[0].tolist(), sampling)])
        return parted(generator.generate_many(moved.tolist(), sampling))

    return call


def parted(answers: Sequence["Generation"]) -> Answered:
    """The two parts of answers that were begun together: prefill is over when the last of them has its first token."""
    wall_ms, cpu_ms = (max(found) for found in zip(*((one.first_token_ms, one.first_token_cpu_ms) for one in answers), strict=True))
    whole_ms, whole_cpu_ms = (1000 * max(found) for found in zip(*((one.seconds, one.cpu_seconds) for one in answers), strict=True))
    later = max(1, min(len(one.tokens) for one in answers) - 1)
    return Answered(Sample(cpu_ms, (wall_ms,)), Sample((whole_cpu_ms - cpu_ms) / later, ((whole_ms - wall_ms) / later,)))


def take_answers(call: Callable[[], Answered], samples: int) -> tuple[Turn, Turn]:
    """A turn of answers (see slimline.measure.timing) as that of prefill and that of decode, of the same calls."""
    found: list[Answered] = []
    turn = take_turn(lambda: found.append(call()), samples, long_ms=LONG_MS)
    return _part(turn, [one.prefill for one in found]), _part(turn, [one.decode for one in found])


def _part(turn: Turn, calls: Sequence[Sample]) -> Turn:
    """The turn with a part of each call in place of the whole one."""
    sizes = [len(sample.wall_ms) for sample in turn.samples]
    last = iter(calls[len(calls) - sum(sizes) :])
    return Turn(calls[0], tuple(_joined(list(islice(last, size))) for size in sizes), turn.steady, turn.calls)


def _joined(calls: Sequence[Sample]) -> Sample:
    """Calls in a row as one sample."""
    return Sample(fmean(one.cpu_ms for one in calls), tuple(wall for one in calls for wall in one.wall_ms))
