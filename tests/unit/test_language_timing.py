"""Prefill and decode told apart from the same turns; parity in parts; near-duplicates that ask for something else."""

import numpy as np
import pytest
import torch

from slimline.data.samples import Samples
from slimline.errors import StageError
from slimline.generation.embed import letters
from slimline.generation.near_duplicates import near_duplicates, same_meaning
from slimline.generation.pace import NEW_TOKENS, PROMPT, call_of, is_pace
from slimline.measure.energy import Energy
from slimline.measure.timing import Sample, Turn, take_turn
from slimline.methods.compile.parity import compare_outputs, compared, parity_of
from slimline.objectives.causal_lm import causal_lm
from tasks.answers import NEW, answer_batches, asked_for, told_apart, with_decode
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
        for kind, new in (("prefill", 0), ("whole", NEW)):
            turns[f"{kind}_{length}_batch_{rows}"] = {
                model: [[turn(prefill_ms[model] * length * rows / 16 + new * token_ms[model])] for _ in range(6)] for model in prefill_ms
            }
    looks = {model: (1, Energy(None, "none")) for model in prefill_ms}
    return Session(turns, looks, {model: {} for model in prefill_ms})


def test_the_time_of_a_token_is_the_difference_of_two_answers():
    wanted = asked_for(None, 2048, 8)
    assert wanted == [(16, 1), (16, 8), (256, 1), (256, 8), (1024, 1)]
    models = {"baseline": 4.0, "teacher": 2.0, "small": 1.0}
    given = session(models, {"baseline": 9.0, "teacher": 6.0, "small": 3.0}, wanted)
    facts = run([with_decode(given, wanted)], 0.95)
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

    inputs = {"input_ids": torch.arange(12).reshape(2, 6) % 7, "attention_mask": torch.ones(2, 6, dtype=torch.long)}
    found = answer_batches(Samples(inputs, torch.zeros(2)), [(5, 1)])
    assert all(is_pace(arrays) for arrays in found.values())
    assert [int(arrays[NEW_TOKENS][0]) for arrays in found.values()] == [1, 1 + NEW]
    call = call_of(Generator(), found["whole_5_batch_1"])
    call()
    call()
    assert calls[0][0] != calls[1][0]
    assert {len(prompt) for prompt, _ in calls} == {5}
    assert {new for _, new in calls} == {1 + NEW}
    assert found["whole_5_batch_1"][PROMPT].shape == (1, 5)


def test_a_long_call_is_its_own_sample():
    calls = []
    found = take_turn(lambda: calls.append(1), 3, long_ms=-1.0)
    assert (len(calls), found.calls, found.first) == (1, 1, found.samples[0])


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
