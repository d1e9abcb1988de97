"""params.yaml: the shipped one is right, and every mistake is found at once, by key, value and what is allowed."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from slimline.errors import ParamsError
from slimline.params import CONFIGS, Params

MIXED = {"source": "teacher", "method": "mixed"}


@pytest.fixture
def raw(project: Path) -> dict[str, Any]:
    return yaml.safe_load((project / "params.yaml").read_text())


def problems_of(raw: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ParamsError) as caught:
        Params.parse(raw)
    return caught.value.problems


def test_shipped_params_hold_the_promised_variants(raw: dict[str, Any]) -> None:
    params = Params.parse(raw)
    promised = {"channels50", "magnitude80", "int8", "int8-dynamic", "half", "svd", "small", "small-scratch"}
    assert promised <= params.variants.keys()
    assert params.lineage("small-int8") == ("small-int8", "small-channels", "small", "teacher")


def test_all_mistakes_are_raised_together(raw: dict[str, Any]) -> None:
    raw["prune"]["channels50"]["ratioo"] = 0.3
    raw["sead"] = 1
    raw["gate"]["max_drop"] = "much"
    raw["quantize"]["../x"] = {"source": "teacher", "method": "static"}
    found = problems_of(raw)
    assert len(found) == 4
    text = "\n".join(found)
    assert "prune.channels50.ratioo: unknown key; did you mean 'ratio'?" in text
    assert "sead: unknown key; did you mean 'seed'?" in text
    assert "gate.max_drop" in text
    assert "'much'" in text
    assert "quantize.../x: a variant's name is made of" in text


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("prune", "channels50", "source"), "nope", "prune.channels50.source: unknown variant 'nope'; known: teacher"),
        (("distill", "small", "source"), "small-channels", "cycle of sources: small -> small-channels -> small"),
        (("factorize", "svd", "source"), "int8", "factorize (svd) may not follow quantize ('int8')"),
        (("prune", "channels50", "method"), "chanels", "prune.channels50.method: unknown method 'chanels'; known: magnitude, taylor"),
        (("prune", "channels50", "ratio"), 1.5, "less than 1"),
        (("teacher", "epochs"), True, "teacher.epochs: give a number, not true or false"),
        (("factorize",), None, "factorize: empty; write `factorize: {}`"),
        (("quantize", "mixed"), {**MIXED, "budget": None}, "quantize.mixed.budget: empty; give it entries, or remove it"),
        (("quantize", "mixed"), {**MIXED, "precisions": ["int8"]}, "quantize.mixed.precisions: List should have at least 2 items, not 1"),
        (("quantize", "mixed"), {**MIXED, "zzz": 1}, "quantize.mixed.zzz: unknown key; allowed: activations, "),
        (("quantize", "int8", "keep_float"), "fc*", "quantize.int8.keep_float: Input should be a valid list (given: 'fc*')"),
        (("seed",), 2**32, "seed: Input should be less than 4294967296"),
        (("prune", "magnitude80", "threshold"), 0.1, "give either fraction or threshold"),
        (("factorize", "svd", "rank"), 4, "give exactly one of rank, energy, parameter_ratio"),
        (("distill", "small-scratch", "epochs"), 1, "a control has the same student and budget"),
        (("distill", "small-scratch", "control_of"), "svd", "'svd' is no distilled variant"),
        (("deploy", "targets"), ["tensorrt"], "deploy.targets.0"),
        (("deploy", "targets"), ["eager"], "'int8' cannot run on 'eager'"),
        (("deploy", "variants"), ["teacher", "ghost"], "deploy.variants: unknown variant 'ghost'"),
        (("deploy", "variants"), ["int8"], "deploy.variants: 'teacher' is missing"),
        (("teacher", "source"), "file:weights.safetensors", "needs sha256"),
        (("teacher", "source"), "http://x", "teacher.source"),
        (("publish", "bucket"), "Not A Bucket", "publish.bucket"),
        (("seed",), -1, "seed"),
        (("seed",), "one", "seed"),
    ],
)
def test_each_mistake_is_named(raw: dict[str, Any], path: tuple[str, ...], value: Any, said: str) -> None:
    spoilt = copy.deepcopy(raw)
    node = spoilt
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    assert any(said in problem for problem in problems_of(spoilt)), problems_of(spoilt)


def test_a_variant_without_a_method(raw: dict[str, Any]) -> None:
    del raw["quantize"]["int8"]["method"]
    known = ", ".join(CONFIGS["quantize"])
    assert problems_of(raw) == (f"params.yaml: quantize.int8.method: missing; known: {known}",)


def test_a_name_used_twice_is_named_with_both_sections(raw: dict[str, Any]) -> None:
    raw["factorize"]["int8"] = raw["factorize"]["svd"]
    assert any("int8: used 2 times (quantize, factorize)" in problem for problem in problems_of(raw))


@pytest.mark.parametrize(
    ("text", "said"),
    [("workload: [", "not readable as YAML"), ("- 1", "holds no mapping"), ("seed: 1\nseed: 2", "stands twice"), ("\xff\xfe", "YAML")],
)
def test_a_file_that_is_no_params_file(in_folder: Path, text: str, said: str) -> None:
    path = in_folder / "params.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ParamsError, match=said):
        Params.load(path)


def test_a_missing_file(in_folder: Path) -> None:
    with pytest.raises(ParamsError, match="no such file"):
        Params.load(in_folder / "params.yaml")
