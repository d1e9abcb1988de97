"""The speeds of language models: reading a prompt and going on from it are timed apart, at several lengths and batch sizes.

An answer is timed in its two parts: until its first token (prefill), and each of the NEW tokens after it (decode). See
slimline.generation.pace for what is called.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimline.data.samples import Split, head
from slimline.generation.pace import NEW_TOKENS, PROMPT
from tasks.launches_session import Session

ANSWER = "answer_"
"""What the names of such batches begin with."""
PREFILL, DECODE = "prefill_", "decode_"
"""What the names of their parts begin with."""
LENGTHS = (16, 256, 1024)
"""Tokens of a prompt, those that the context has room for."""
ROWS = 8
"""Prompts of the larger batch."""
MOST_TOKENS = 2048
"""Of a batch of prompts: what takes longer to read is timed alone."""
NEW = 16
"""Tokens after the first by which decode is timed."""
JUDGED = 256
"""The gate judges decode at batch 1 after a prompt of so many tokens, or of the longest that is timed below it."""
FIGURES = ("latency_ms", "speed_ratio", "speed_ratio_same_runtime", "noise_floor")


def asked_for(lengths: Sequence[int] | None, context: int, batch_size: int) -> list[tuple[int, int]]:
    """(length, rows) of the prompts that are timed."""
    room = [length for length in lengths or LENGTHS if length + 1 + NEW <= context] or [max(1, context - 1 - NEW)]
    sizes = dict.fromkeys((1, min(ROWS, batch_size)))
    return [(length, rows) for length in room for rows in sizes if rows == 1 or length * rows <= MOST_TOKENS]


def answer_batches(test: Split, wanted: Sequence[tuple[int, int]]) -> dict[str, dict[str, NDArray[Any]]]:
    """Batch name -> arrays: prompts of the test split's own tokens, one after another, and how long the answers are."""
    inputs = head(test, ROWS).inputs
    tokens = inputs["input_ids"][inputs["attention_mask"].bool()].numpy()
    return {
        f"{ANSWER}{length}_batch_{rows}": {PROMPT: np.resize(tokens, (rows, length)), NEW_TOKENS: np.array([1 + NEW], np.int64)}
        for length, rows in wanted
    }


def parts_of(batch: str) -> tuple[str, ...]:
    """The names of what is timed in a call on a batch: of an answer prefill and decode, of anything else the call."""
    name = batch.removeprefix(ANSWER)
    return (batch,) if name == batch else (f"{PREFILL}{name}", f"{DECODE}{name}")


def with_judged(session: Session, wanted: Sequence[tuple[int, int]]) -> Session:
    """The session with the turns of decode that the gate judges as `batch_1` and `batch_<rows>` too."""
    judged = {rows: max([length for length, of in wanted if of == rows and length <= JUDGED], default=wanted[0][0]) for _, rows in wanted}
    named = {f"batch_{rows}": session.turns[f"{DECODE}{length}_batch_{rows}"] for rows, length in sorted(judged.items())}
    return replace(session, turns=named | session.turns)


def told_apart(facts: Mapping[str, Any], wanted: Sequence[tuple[int, int]]) -> None:
    """Take prefill and decode out of the figures of the batches, in place: each model gets `prefill` and `decode`, by length and rows."""
    for model in (facts["baseline"], facts["same_runtime_baseline"], *facts["variants"].values()):
        for kind, name in (("prefill", PREFILL), ("decode", DECODE)):
            model[kind] = {}
            for length, rows in wanted:
                batch, tokens = f"{name}{length}_batch_{rows}", length * rows if kind == "prefill" else rows
                found = {figure: model[figure][batch] for figure in FIGURES if figure in model}
                speed = {"tokens_per_second": 1000 * tokens / found["latency_ms"]["p50"]}
                model[kind].setdefault(str(length), {})[f"batch_{rows}"] = found | speed
        for values in model.values():
            if isinstance(values, dict):
                for batch in [key for key in values if str(key).startswith((PREFILL, DECODE)) and "_batch_" in str(key)]:
                    del values[batch]
