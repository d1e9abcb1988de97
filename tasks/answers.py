"""The speeds of language models: reading a prompt and going on from it are timed apart, at several lengths and batch sizes.

Two answers to prompts of the same length are timed: of one token (prefill), and of NEW more. Their difference, over NEW, is the time of a
token (decode). See slimline.generation.pace for what is called.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimline.data.samples import Split, head
from slimline.generation.pace import NEW_TOKENS, PROMPT
from slimline.measure.timing import Sample, Turn
from tasks.launches_session import Session

ANSWERS = ("prefill_", "whole_")
"""What the names of such batches begin with."""
DECODE = "decode_"
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
LEAST_MS = 1e-6
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
    found = {}
    for length, rows in wanted:
        prompt = np.resize(tokens, (rows, length))
        for kind, new in zip(ANSWERS, (1, 1 + NEW), strict=True):
            found[f"{kind}{length}_batch_{rows}"] = {PROMPT: prompt, NEW_TOKENS: np.array([new], np.int64)}
    return found


def with_decode(session: Session, wanted: Sequence[tuple[int, int]]) -> Session:
    """The session with the turns of decode in place of whole answers, and those that the gate judges as `batch_1` and `batch_<rows>`."""
    turns = {}
    for length, rows in wanted:
        name = f"{length}_batch_{rows}"
        prefill, whole = (session.turns[f"{kind}{name}"] for kind in ANSWERS)
        turns[f"{ANSWERS[0]}{name}"] = prefill
        turns[f"{DECODE}{name}"] = {
            model: [list(map(_a_token, *launch)) for launch in zip(prefill[model], whole[model], strict=True)] for model in whole
        }
    judged = {rows: max([length for length, of in wanted if of == rows and length <= JUDGED], default=wanted[0][0]) for _, rows in wanted}
    named = {f"batch_{rows}": turns[f"{DECODE}{length}_batch_{rows}"] for rows, length in sorted(judged.items())}
    return Session(named | turns, session.looks, session.states, session.failures)


def _a_token(prefill: Turn, whole: Turn) -> Turn:
    """The time of one token after the first, of two answers in the same round; its cold call is the first token's."""
    cpu_ms, wall_ms = whole.cpu_ms - prefill.cpu_ms, whole.wall_ms - prefill.wall_ms
    token = Sample(max(cpu_ms / NEW, LEAST_MS), (max(wall_ms / NEW, LEAST_MS),))
    return Turn(prefill.first, (token,), prefill.steady and whole.steady, NEW)


def told_apart(facts: Mapping[str, Any], wanted: Sequence[tuple[int, int]]) -> None:
    """Take prefill and decode out of the figures of the batches, in place: each model gets `prefill` and `decode`, by length and rows."""
    for model in (facts["baseline"], facts["same_runtime_baseline"], *facts["variants"].values()):
        for kind, name in (("prefill", ANSWERS[0]), ("decode", DECODE)):
            model[kind] = {}
            for length, rows in wanted:
                batch, tokens = f"{name}{length}_batch_{rows}", length * rows if kind == "prefill" else rows
                found = {figure: model[figure][batch] for figure in FIGURES if figure in model}
                speed = {"tokens_per_second": 1000 * tokens / found["latency_ms"]["p50"]}
                model[kind].setdefault(str(length), {})[f"batch_{rows}"] = found | speed
        for values in model.values():
            if isinstance(values, dict):
                for batch in [key for key in values if str(key).startswith((ANSWERS[0], DECODE)) and "_batch_" in str(key)]:
                    del values[batch]
