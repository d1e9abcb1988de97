"""Stage `cache`: what the caches of a compiled language model save, and what they get wrong.

in      data/compiled/<variant>-<target>, data/prepared/test.arrow, data/machine.json
out     reports/metrics/cache/<variant>-<target>.json and the page
params  workload, seed, evaluate.threads; cache.variants and cache.targets say for which it is run

The prompt cache (the engine's own, or slimline.generation.prompt_cache) and the output cache are measured on prompts of the test split; a
cache by meaning is judged on near-duplicates that ask for something else. Nothing here is judged by the gate.
"""

import itertools
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimline.artifact.compiled import CompiledManifest, read_compiled
from slimline.artifact.folder import sha256_of
from slimline.artifact.generating import GENERATION, read_generation
from slimline.artifact.missed import require_made
from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.data.windows import Windows
from slimline.errors import StageError
from slimline.generation import Generation, Generator, Sampling
from slimline.generation.embed import letters
from slimline.generation.near_duplicates import near_duplicates, same_meaning
from slimline.generation.output_cache import OutputCache, Semantic
from slimline.generation.prompt_cache import PromptCache
from slimline.model import Model
from slimline.report.cache import cache_page
from slimline.report.page import write_page
from slimline.runtime import load
from slimline.stage import Stage, stage_main, write_metrics
from tasks.missed import note_unmade

log = logging.getLogger(__name__)
COMPILED = Path("data/compiled")
PREFIXES = (64, 256, 1024)
"""Tokens that prompts begin with alike, those that the context has room for."""
OWN, ANSWER = 16, 8
"""Tokens of its own that each prompt ends with, and those of its answer."""
PROMPTS, SMALL_ANSWER = 5, 32
TEXTS, TEXT_TOKENS = 40, 24
"""Prompts whose near-duplicates are made, and how long they are."""
THRESHOLD = 0.95
MOST_WRONG = 0.001
"""The share of wrong answers above which a cache by meaning is rejected."""


def prefix_figures(model: Model, tokens: Sequence[int], prefix: int, folder: Path) -> dict[str, Any]:
    """First-token times with the beginning known and unknown, whether the answers are equal, and what is kept.

    Both are timed in turns, each on prompts with the same beginning; without a cache nothing of a prompt is ever kept.
    """
    cache = PromptCache(model.identity, folder / f"{prefix}")
    assert model.generating is not None
    assert isinstance(model.preprocessing, Windows)
    cached, plain = model.generating(model.preprocessing, cache), model.generating(model.preprocessing, PromptCache("", memory_bytes=0))
    prompts = [[*np.resize(tokens, prefix).tolist(), *own] for own in _own_endings(tokens, PROMPTS + 1)]
    sampling = Sampling(max_new_tokens=ANSWER)
    cached.generate(prompts[0], sampling)
    pairs = [(plain.generate(prompt, sampling), cached.generate(prompt, sampling)) for prompt in prompts[1:]]
    found = {
        "first_token_ms": statistics.median(without.first_token_ms for without, _ in pairs),
        "cached_first_token_ms": statistics.median(with_cache.first_token_ms for _, with_cache in pairs),
        "ratio": statistics.median(without.first_token_ms / with_cache.first_token_ms for without, with_cache in pairs),
        "cached_tokens": pairs[-1][1].cached_tokens,
        "equal_answers": sum(without.tokens == with_cache.tokens for without, with_cache in pairs) / len(pairs),
        "memory_bytes": cache.memory_bytes or None,
        "disk_bytes": cache.disk_bytes if cache.memory_bytes else None,
        "disk_first_token_ms": _from_disk(model, prompts[-1], sampling, folder / f"{prefix}") if cache.memory_bytes else None,
    }
    cache.close()
    return found


def small_figures(folder: Path, model: Model, texts: Sequence[str], threads: int) -> dict[str, Any] | None:
    """Keys and values in int8, where the engine has that (OpenVINO): how many tokens of the answers stay."""
    if not isinstance(model.manifest, CompiledManifest) or model.manifest.target != "openvino":
        return None
    from slimline.loaders import openvino

    assert isinstance(model.preprocessing, Windows)
    changed = model.manifest.model_copy(update={"execution": {**model.manifest.execution, "KV_CACHE_PRECISION": "u8"}})
    nothing = PromptCache("", memory_bytes=0)
    small = openvino.load_language(folder, changed, threads).generating(model.preprocessing, nothing)
    sampling = Sampling(max_new_tokens=SMALL_ANSWER)
    pairs = [(model.generator.generate(text, sampling), small.generate(text, sampling)) for text in texts[:PROMPTS]]
    places = [_equal_places(one.tokens, two.tokens) for one, two in pairs]
    return {
        "precision": "u8",
        "tokens": sum(len(one.tokens) for one, _ in pairs),
        "equal_share": sum(places) / max(1, sum(len(one.tokens) for one, _ in pairs)),
    }


def _equal_places(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two answers have in common before they part."""
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _from_disk(model: Model, prompt: Sequence[int], sampling: Sampling, folder: Path) -> float:
    """The first token where another process has read the beginning: nothing is in memory."""
    assert model.generating is not None
    assert isinstance(model.preprocessing, Windows)
    return model.generating(model.preprocessing, PromptCache(model.identity, folder)).generate(prompt, sampling).first_token_ms


def _own_endings(tokens: Sequence[int], count: int) -> Iterator[list[int]]:
    """The ends of so many prompts: other tokens of the text for each."""
    for number in range(count):
        yield [int(token) for token in np.roll(tokens, -OWN * (number + 1))[:OWN]]


def answered(generator: Generator, texts: Sequence[str], cache: OutputCache) -> list[Generation]:
    """Answers by way of the output cache."""
    sampling, found = Sampling(max_new_tokens=ANSWER), []
    for text in texts:
        tokens = generator.tokens(text)
        if (answer := cache.get(tokens, sampling, text)) is None:
            answer = generator.generate(tokens, sampling)
            cache.put(tokens, sampling, answer, text)
        found.append(answer)
    return found


def output_figures(model: Model, texts: Sequence[str], folder: Path) -> dict[str, Any]:
    """The output cache on the same prompts twice: hits, their time beside that of an answer, and whether a token changes."""
    cache = OutputCache(model.identity, folder / "outputs")
    first, first_s = _timed(lambda: answered(model.generator, texts, cache))
    again, again_s = _timed(lambda: answered(model.generator, texts, cache))
    asked, hits, kept_bytes = len(texts), cache.hits, cache.size_bytes
    cache.close()
    other = OutputCache(f"{model.identity}, changed", folder / "outputs")
    stale = sum(other.get(model.generator.tokens(text), Sampling(max_new_tokens=ANSWER)) is not None for text in texts)
    other.close()
    return {
        "prompts": asked,
        "hit_rate": hits / (2 * asked),
        "answer_ms": 1000 * first_s / asked,
        "hit_ms": 1000 * again_s / asked,
        "equal_answers": sum(one.tokens == two.tokens for one, two in zip(first, again, strict=True)) / asked,
        "hits_after_release_changed": stale,
        "disk_bytes": kept_bytes,
    }


def meaning_figures(model: Model, texts: Sequence[str], folder: Path) -> dict[str, Any] | None:
    """A cache by meaning: how many near-duplicates with another answer get the wrong one, and how many equal questions the right one.

    A near-duplicate counts only if the model itself answers it otherwise; None where it does so for none.
    """
    exact = OutputCache(model.identity, folder / "exact")
    answers = answered(model.generator, texts, exact)
    kinds: dict[str, list[int]] = {}
    semantic = OutputCache(model.identity, folder / "meaning", semantic=Semantic(letters, THRESHOLD))
    sampling, same, exact_wrong = Sampling(max_new_tokens=ANSWER), [], 0
    for text, answer in zip(texts, answers, strict=True):
        semantic.put(model.generator.tokens(text), sampling, answer, text)
        for kind, near in near_duplicates(text):
            tokens = model.generator.tokens(near)
            if tokens and model.generator.generate(tokens, sampling).tokens != answer.tokens:
                kinds.setdefault(kind, []).append(semantic.get(tokens, sampling, near) is not None)
                exact_wrong += exact.get(tokens, sampling) is not None
        same += [semantic.get(model.generator.tokens(other), sampling, other) is not None for other in same_meaning(text)]
    for cache in (exact, semantic):
        cache.close()
    wrong = list(itertools.chain.from_iterable(kinds.values()))
    if not wrong:
        return None
    return {
        "embedding": "runs of three letters, hashed",
        "threshold": THRESHOLD,
        "near_duplicates": len(wrong),
        "wrong_hit_rate": sum(wrong) / len(wrong),
        "exact_wrong_hit_rate": exact_wrong / len(wrong),
        "by_kind": {kind: {"pairs": len(found), "wrong_hit_rate": sum(found) / len(found)} for kind, found in kinds.items()},
        "equal_questions": len(same),
        "hit_rate": sum(same) / len(same),
        "most_wrong": MOST_WRONG,
        "accepted": sum(wrong) / len(wrong) <= MOST_WRONG,
    }


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    found = call()
    return found, time.perf_counter() - start


def main(stage: Stage) -> None:
    """Measure all caches of one compiled language model; write the metrics and the page.

    Raises:
        StageError: the model generates nothing.
    """
    folder = COMPILED / stage.label
    require_made(folder)
    manifest = read_compiled(folder)
    if GENERATION not in manifest.files and manifest.target != "eager":
        raise StageError(f"cache: {stage.label} generates nothing, so there is nothing to cache; compile it for openvino or onnxruntime")
    model = load(folder, threads=stage.params.evaluate.threads, workload=stage.params.workload)
    test = head(load_split(stage.workload.samples, "test"), TEXTS)
    rows = [row[mask.bool()].tolist() for row, mask in zip(test.inputs["input_ids"], test.inputs["attention_mask"], strict=True)]
    tokens = list(itertools.chain.from_iterable(rows))
    assert isinstance(model.preprocessing, Windows)
    texts = list(dict.fromkeys(model.preprocessing.decoded(row[:TEXT_TOKENS]) for row in rows))
    room = model.generator.context - OWN - ANSWER
    lengths = [length for length in PREFIXES if length <= room] or [room]
    with tempfile.TemporaryDirectory(prefix="slimline-cache-") as place:
        prefixes = {str(length): prefix_figures(model, tokens, length, Path(place)) for length in lengths}
        outputs = output_figures(model, texts, Path(place))
        meaning = meaning_figures(model, texts, Path(place))
        small = small_figures(folder, model, texts, stage.params.evaluate.threads)
    facts = {
        "schema": 1,
        "variant": stage.variant,
        "target": stage.target,
        "artifact_sha256": sha256_of(folder / "manifest.json"),
        "token_bytes": read_generation(folder).token_bytes if GENERATION in manifest.files else None,
        "key_value_precision": manifest.execution.get("KV_CACHE_PRECISION", "f32"),
        "computes": manifest.computes,
        "small_key_values": small,
        "unkept": model.generator.unkept,
        "prefixes": prefixes,
        "outputs": outputs,
        "meaning": meaning,
    }
    write_metrics(stage, facts)
    page = cache_page(facts)
    write_page(page, stage.page_path)
    log.info("cache: %s: %s", stage.label, page.summary[0])


if __name__ == "__main__":
    stage_main("cache", main, __doc__, per="pair", on_miss=note_unmade)
