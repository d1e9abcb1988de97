"""Answers given before: only the same ones, only of the same release, only for so long, over processes, and never a pickle."""

import subprocess
import sys
import time

import diskcache
import numpy as np
import pytest

from slimline.generation import Generation, Sampling
from slimline.generation.output_cache import OutputCache, Semantic

ANSWER = Generation("Paris.", (5, 6), "stop", 3, 0, 12.0, 0.1)
GREEDY = Sampling(max_new_tokens=4)


def test_the_same_prompt_and_sampling_get_the_answer_and_nothing_else_does(tmp_path):
    cache = OutputCache("a", tmp_path)
    cache.put((1, 2, 3), GREEDY, ANSWER)
    assert cache.get((1, 2, 3), GREEDY) == ANSWER
    assert cache.get((1, 2, 4), GREEDY) is None
    assert cache.get((12, 3), GREEDY) is None
    assert cache.get((1, 2, 3), Sampling(max_new_tokens=5)) is None
    assert OutputCache("b", tmp_path).get((1, 2, 3), GREEDY) is None
    assert (cache.hits, cache.misses) == (1, 3)


def test_answers_that_are_drawn_anew_are_not_kept_but_seeded_ones_are(tmp_path):
    cache = OutputCache("a", tmp_path)
    for seed, expected in ((None, None), (7, ANSWER)):
        sampling = Sampling(temperature=1.0, seed=seed)
        cache.put((1,), sampling, ANSWER)
        assert cache.get((1,), sampling) == expected


def test_answers_end_with_their_time_and_with_the_room(tmp_path):
    cache = OutputCache("a", tmp_path / "short", lifetime_s=0.05)
    cache.put((1,), GREEDY, ANSWER)
    time.sleep(0.1)
    assert cache.get((1,), GREEDY) is None
    small = OutputCache("a", tmp_path / "small", size_bytes=200_000)
    for number in range(40):
        small.put((number,), GREEDY, Generation("x" * 20_000, (1,), "length", 1, 0, 1.0, 1.0))
    assert small.get((39,), GREEDY) is not None
    assert small.get((0,), GREEDY) is None
    assert small.size_bytes < 400_000


def test_another_process_finds_the_answer(tmp_path):
    code = (
        "from slimline.generation import *; from slimline.generation.output_cache import OutputCache; from pathlib import Path; import sys;"
        "OutputCache('a', Path(sys.argv[1])).put((1, 2), Sampling(), Generation('yes', (1,), 'stop', 2, 0, 1.0, 1.0))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    found = OutputCache("a", tmp_path).get((1, 2), Sampling())
    assert found is not None
    assert found.text == "yes"


def test_a_near_text_gets_the_answer_only_where_meaning_is_compared(tmp_path):
    vectors = {"a": [1, 0], "near": [0.99, 0.14], "far": [0, 1]}
    cache = OutputCache("a", tmp_path, semantic=Semantic(lambda text: np.array(vectors[text], np.float32), 0.95))
    cache.put((1,), GREEDY, ANSWER, "a")
    assert cache.get((2,), GREEDY, "near") == ANSWER
    assert cache.get((3,), GREEDY, "far") is None
    assert cache.get((2,), Sampling(max_new_tokens=9), "near") is None


def test_a_pickle_in_the_folder_is_not_opened(tmp_path):
    cache = OutputCache("a", tmp_path)
    cache.put((1,), GREEDY, ANSWER)
    with diskcache.Cache(str(tmp_path)) as foreign:
        foreign[next(iter(foreign))] = {"a": "pickle"}
    with pytest.raises(ValueError, match="pickle"):
        OutputCache("a", tmp_path).get((1,), GREEDY)
