"""Nets that rotate keys by the length of the whole prompt: nothing of a prompt is kept for another one, on any engine, and that is told."""

from pathlib import Path
from typing import Any

import pytest
import torch

from slimline.artifact.compiled import read_compiled
from slimline.artifact.generating import GENERATION, read_generation, rotates_by_length, write_generation
from slimline.generation import Sampling
from slimline.generation.eager import EagerNet, generator_of
from slimline.generation.onnxruntime import OnnxNet
from slimline.generation.prompt_cache import ROTATED, PromptCache
from slimline.loaders import openvino
from slimline.methods.compile.language_export import generation_facts
from slimline.report.cache import cache_page
from slimline.workloads.huggingface.net import built
from tests.generating_nets import NETS, compiled, language_net, windows

LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0, 6.0, 4.0, 2.0], "rope_theta": 10000.0}
LONG |= {"original_max_position_embeddings": 100}
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
PROMPT = [2 + place % 390 for place in range(150)]


def rotated(kind: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    longest = 100 if kind is DYNAMIC else 192
    return built({"task": "causal-lm", "config": NETS["llama"] | {"rope_parameters": kind, "max_position_embeddings": longest}}).eval()


class Config:
    """A config with one attribute."""

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Config(rope_parameters={"full_attention": LINEAR, "sliding_attention": DYNAMIC}), True),
        (Config(rope_scaling={"type": "longrope"}), True),
        (Config(rope_parameters={"full_attention": LINEAR, "sliding_attention": {"rope_type": "default"}}), False),
        (Config(rope_scaling=None), False),
        (Config(), False),
    ],
)
def test_every_type_of_layer_is_asked(config: Config, expected: bool) -> None:
    assert rotates_by_length(config) is expected


@pytest.mark.parametrize(("kind", "why"), [(LONG, ROTATED), (DYNAMIC, ROTATED), (LINEAR, None)], ids=["longrope", "dynamic", "linear"])
def test_keys_that_are_rotated_by_length_are_not_kept(kind: dict[str, Any], why: str | None) -> None:
    net = rotated(kind)
    assert EagerNet(net.body).unkept == OnnxNet(Session(), generation_facts(net)).unkept == why
    made = generator_of(net, windows(), PromptCache("a"))
    sampling = Sampling(max_new_tokens=2)
    made.generate(PROMPT[:90], sampling)
    assert made.generate([*PROMPT[:70], 7], sampling).cached_tokens == (64 if why is None else 0)


class Session:
    """A session without inputs."""

    def get_inputs(self) -> list[Any]:
        return []

    def get_overridable_initializers(self) -> list[Any]:
        return []


@pytest.mark.slow
def test_openvino_keeps_nothing_of_a_net_whose_facts_say_so(tmp_path: Path) -> None:
    folder = compiled(tmp_path / "openvino", "openvino", language_net())
    manifest, facts, found = read_compiled(folder), read_generation(folder), []
    for turned in (False, True):
        write_generation(folder, facts.model_copy(update={"rotates_by_length": turned}))
        made: Any = openvino.load_language(folder, manifest, 1).generating(windows(), PromptCache("a"))
        made.generate(PROMPT[:90], Sampling(max_new_tokens=2))
        found.append((made.unkept, made.generate([*PROMPT[:70], 7], Sampling(max_new_tokens=2)).cached_tokens))
    assert found == [(None, 64), (ROTATED, 0)]


def test_the_page_says_that_nothing_is_kept_and_why() -> None:
    known = {"cached_tokens": 0, "first_token_ms": 2.0, "cached_first_token_ms": 2.0, "disk_first_token_ms": None, "ratio": 1.0}
    known |= {"equal_answers": 1.0, "memory_bytes": None, "disk_bytes": None}
    outputs = {"prompts": 1, "hit_rate": 0.5, "answer_ms": 2.0, "hit_ms": 0.1, "equal_answers": 1.0, "disk_bytes": 9}
    facts = {"variant": "int8", "target": "onnxruntime", "computes": "f32", "prefixes": {"256": known}, "meaning": None}
    facts |= {"outputs": outputs | {"hits_after_release_changed": 0}, "token_bytes": None, "small_key_values": None}
    assert cache_page(facts).summary[0].endswith("is too short for the prompt cache.")  # of an earlier release
    told = cache_page(facts | {"unkept": ROTATED}).summary[0]
    assert told == "The prompt cache keeps nothing of this net: its keys are rotated by the length of the whole prompt."


def test_facts_of_an_earlier_release_still_load(tmp_path: Path) -> None:
    (tmp_path / GENERATION).write_text('{"vocabulary": 400, "context": 192, "layers": [{"heads": 2, "size": 8}]}')
    assert not read_generation(tmp_path).rotates_by_length
