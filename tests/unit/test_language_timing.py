"""Prefill and decode told apart in the same answers; parity in parts; near-duplicates that ask for something else."""

import time
from itertools import count

import numpy as np
import pytest
import torch

from slimline.data.samples import Samples
from slimline.errors import StageError
from slimline.generation import Generation
from slimline.generation.embed import letters
from slimline.generation.near_duplicates import near_duplicates, same_meaning
from slimline.generation.pace import LONG_MS, NEW_TOKENS, PROMPT, Answered, call_of, is_pace, parted, take_answers
from slimline.measure.energy import Energy
from slimline.measure.timing import Sample, Turn, take_turn
from slimline.methods.compile.parity import compare_outputs, compared, parity_of
from slimline.objectives.causal_lm import causal_lm
from tasks.answers import NEW, answer_batches, asked_for, parts_of, told_apart, with_judged
from tasks.launches_session import Session
from tasks.parity import first_difference
from tasks.time import run


def turn(milliseconds):
    sample = Sample(milliseconds, (milliseconds,))
    return Turn(sample, (sample,), steady=True, calls=1)


def session(prefill_ms, token_ms, wanted):
    """Turns of models whose times are known: six launches of one round."""
    turns = {}
    for length, rows in wanted:
        prefill, decode = parts_of(f"answer_{length}_batch_{rows}")
        turns[prefill] = {model: [[turn(prefill_ms[model] * length * rows / 16)] for _ in range(6)] for model in prefill_ms}
        turns[decode] = {model: [[turn(token_ms[model])] for _ in range(6)] for model in prefill_ms}
    looks = {model: (1, Energy(None, "none")) for model in prefill_ms}
    return Session(turns, looks, {model: {} for model in prefill_ms})


def test_prefill_and_decode_are_figures_of_their_own_and_the_gate_judges_decode():
    wanted = asked_for(None, 2048, 8)
    assert wanted == [(16, 1), (16, 8), (256, 1), (256, 8), (1024, 1)]
    models = {"baseline": 4.0, "teacher": 2.0, "small": 1.0}
    given = session(models, {"baseline": 9.0, "teacher": 6.0, "small": 3.0}, wanted)
    facts = run([with_judged(given, wanted)], 0.95)
    told_apart(facts, wanted)
    small = facts["variants"]["small"]
    assert small["speed_ratio"]["batch_1"]["value"] == pytest.approx(3)
    assert small["speed_ratio_same_runtime"]["batch_8"]["value"] == pytest.approx(2)
    assert small["latency_ms"]["batch_1"]["p50"] == pytest.approx(3)
    assert set(small["latency_ms"]) == {"batch_1", "batch_8"}
    assert small["prefill"]["1024"]["batch_1"]["speed_ratio"]["value"] == pytest.approx(4)
    assert small["prefill"]["256"]["batch_8"]["tokens_per_second"] == pytest.approx(256 * 8 / (16 * 8 / 1000))
    assert small["decode"]["16"]["batch_8"]["tokens_per_second"] == pytest.approx(8 / 0.003)


def test_a_small_context_is_timed_at_the_length_that_it_has_room_for():
    assert asked_for(None, 20, 8) == [(3, 1), (3, 8)]
    assert asked_for((32,), 64, 1) == [(32, 1)]


def test_every_call_reads_other_prompts_and_writes_as_many_tokens():
    calls = []

    class Generator:
        def generate(self, prompt, sampling):
            calls.append((tuple(prompt), sampling.max_new_tokens))
            return answer(5.0, 5.0 + 2 * NEW, 4.0, 4.0 + NEW)

    inputs = {"input_ids": torch.arange(12).reshape(2, 6) % 7, "attention_mask": torch.ones(2, 6, dtype=torch.long)}
    found = answer_batches(Samples(inputs, torch.zeros(2)), [(5, 1)])
    assert all(is_pace(arrays) for arrays in found.values())
    call = call_of(Generator(), found["answer_5_batch_1"])
    assert call() == call() == Answered(Sample(4.0, (5.0,)), Sample(1.0, (2.0,)))
    assert calls[0][0] != calls[1][0]
    assert {len(prompt) for prompt, _ in calls} == {5}
    assert {new for _, new in calls} == {1 + NEW}
    assert found["answer_5_batch_1"][PROMPT].shape == (1, 5)
    assert found["answer_5_batch_1"][NEW_TOKENS] == [1 + NEW]


def answer(first_ms: float, whole_ms: float, first_cpu_ms: float, whole_cpu_ms: float, tokens: int = 1 + NEW) -> Generation:
    return Generation("", (1,) * tokens, "length", 5, 0, first_ms, whole_ms / 1000, first_cpu_ms, whole_cpu_ms / 1000)


def test_prefill_of_a_batch_is_over_with_its_last_first_token():
    """The engine may read the prompts of a batch one after another, and go on with the first meanwhile."""
    found = parted([answer(10.0, 30.0, 10.0, 30.0, tokens=5), answer(26.0, 34.0, 22.0, 30.0, tokens=5)])
    assert found.prefill == Sample(22.0, (26.0,))
    assert found.decode.cpu_ms == pytest.approx(2.0)
    assert found.decode.wall_ms == (pytest.approx(2.0),)


def test_a_long_call_is_given_once_to_warm_up_and_once_as_the_sample():
    calls = []
    found = take_turn(lambda: calls.append(1), 3, long_ms=-1.0)
    assert (len(calls), found.calls, len(found.samples)) == (2, 2, 1)


@pytest.mark.parametrize("pause_s", [0.002, 1.1 * LONG_MS / 1000])
def test_both_parts_are_of_the_same_calls_and_decode_is_never_a_difference_of_two(pause_s):
    """Prefill here takes a thousand times as long as a token and differs from call to call by more than all tokens take."""
    prefills_ms = count(10_000, 100)

    def call():
        time.sleep(pause_s)
        prefill_ms = next(prefills_ms)
        return parted([answer(prefill_ms, prefill_ms + NEW, prefill_ms, prefill_ms + NEW)])

    prefill, decode = take_answers(call, 2)
    assert prefill.calls == decode.calls
    assert (prefill.first.cpu_ms, decode.first.cpu_ms) == (10_000, pytest.approx(1.0))
    assert len(prefill.samples) == len(decode.samples) == (1 if pause_s > 0.1 else 2)
    assert all(sample.cpu_ms == pytest.approx(1.0) for sample in decode.samples)
    assert all(sample.cpu_ms == pytest.approx(np.mean(sample.wall_ms)) for sample in prefill.samples)
    assert min(sample.cpu_ms for sample in prefill.samples) > 10_000


@pytest.mark.parametrize("exact", [True, False])
def test_parity_in_parts_is_that_of_the_whole(exact):
    rng = np.random.default_rng(0)
    source = rng.normal(size=(6, 8, 20)).astype(np.float32)
    reference = source + rng.normal(scale=0.05, size=source.shape).astype(np.float32)
    outputs = reference + rng.normal(scale=0.02, size=source.shape).astype(np.float32)
    own = None if exact else source
    whole = compare_outputs(reference, outputs, objective=causal_lm(), exact=exact, source=own)
    parts = [
        compared(reference[row : row + 2], outputs[row : row + 2], objective=causal_lm(), source=None if exact else source[row : row + 2])
        for row in (0, 2, 4)
    ]
    assert parity_of(parts, exact=exact) == whole
    with pytest.raises(StageError, match="gives"):
        compared(reference, outputs[:5], objective=causal_lm())


def test_where_two_answers_part():
    assert first_difference([1, 2, 3], [1, 2, 3]) is None
    assert first_difference([1, 2, 3], [1, 5, 3]) == 1
    assert first_difference([1, 2, 3], [1, 2]) == 2


def test_near_duplicates_differ_in_one_thing_and_equal_questions_in_blanks_alone():
    text = "if parse_int is called with 17 by Decoder"
    found = dict(near_duplicates(text))
    assert found["number"] == "if parse_int is called with 18 by Decoder"
    assert found["negation"] == "if parse_int is not called with 17 by Decoder"
    assert found["names"] == "if called is parse_int with 17 by Decoder"
    for same in same_meaning(text):
        assert letters(text) @ letters(same) == pytest.approx(1)
    assert letters(text) @ letters("something else entirely") < 0.5
