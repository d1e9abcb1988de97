"""What a language model writes beside the teacher: greedy answers to the same beginnings of test documents, and where they part."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from slimline.data.samples import Samples, Split, head
from slimline.data.windows import Windows
from slimline.generation import Generation, Sampling, first_difference
from slimline.methods import GENERATING
from slimline.worker import Worker
from slimline.workloads.guarded import Guarded

PROMPTS, LOOKED_AT = 4, 64
"""Beginnings that are gone on from, each of another document, among so many windows."""
PROMPT_TOKENS, ANSWER_TOKENS = 48, 48


def side_by_side(teacher: nn.Module, worker: Worker, test: Split, workload: Guarded, target: str) -> list[dict[str, Any]] | None:
    """Each prompt with both answers as text, and the place of the first token in which they differ (None: nowhere).

    None of a workload without text, and of a target that only scores.
    """
    windows = workload.preprocessing
    if not isinstance(windows, Windows) or target not in (*GENERATING, "eager"):
        return None
    from slimline.generation.eager import generator_of

    sampling, generator = Sampling(max_new_tokens=ANSWER_TOKENS), generator_of(teacher, windows)
    found = []
    for prompt in beginnings(head(test, LOOKED_AT)):
        one, other = generator.generate(prompt, sampling), worker.generate([prompt], sampling)[0]
        found.append(
            {"prompt": windows.decoded(prompt), "baseline": one.text, "variant": other.text, "parted": _parted(windows, one, other)}
        )
    return found


def beginnings(some: Samples) -> Iterator[list[int]]:
    """The first tokens of a window of each of the first documents."""
    assert not hasattr(some.targets, "shape")
    seen: list[int] = []
    for ids, mask, document in zip(some.inputs["input_ids"], some.inputs["attention_mask"], some.targets["document"].tolist(), strict=True):
        if document not in seen and len(seen) < PROMPTS:
            seen.append(document)
            yield ids[: min(PROMPT_TOKENS, max(1, int(mask.sum()) // 2))].tolist()


def _parted(windows: Windows, one: Generation, other: Generation) -> dict[str, Any] | None:
    """Where two answers part: after how many tokens, and what each goes on with."""
    place = first_difference(one.tokens, other.tokens)
    if place is None:
        return None
    return {
        "tokens": place,
        **{who: windows.decoded(said.tokens[place : place + 1]) for who, said in (("baseline", one), ("variant", other))},
    }
