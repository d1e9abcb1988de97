"""params.yaml: the shipped one is right, and every mistake is found at once, by key, value and what is allowed."""

import copy
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel, ValidationError

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


def sections_of(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """A model and all that its fields hold."""
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for part in parts_of(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from sections_of(part, seen)


def parts_of(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from parts_of(part)


def numeric_fields() -> list[tuple[type[BaseModel], str]]:
    found = []
    for model in sections_of(Params, set()):
        for name, field in model.model_fields.items():
            parts = set(map(str, (part for part in parts_of(field.annotation) if isinstance(part, type))))
            if parts & {str(int), str(float)} and str(bool) not in parts:
                found.append((model, name))
    return found


def test_no_number_is_a_truth_value_or_without_bounds() -> None:
    fields = numeric_fields()
    assert len(fields) > 60
    for model, name in fields:
        for value in (True, float("inf"), float("nan"), -(10**30), 10**30, 10**400):
            with pytest.raises(ValidationError) as caught:
                model.model_validate({name: value})
            assert any(problem["loc"][0] == name for problem in caught.value.errors()), f"{model.__name__}.{name} takes {value!r}"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("teacher", "threads"), 100_000, "teacher.threads: Input should be less than or equal to 1024"),
        (("evaluate", "threads"), 100_000, "evaluate.threads"),
        (("teacher", "epochs"), 10**9, "teacher.epochs"),
        (("evaluate", "batch_size"), 10**9, "evaluate.batch_size"),
        (("publish", "alias"), "a" * 65, "publish.alias"),
        (("workload",), "w" * 300, "workload"),
        (("prune", "channels50", "keep"), ["a\nb"], "no line break"),
        (("gate", "metric"), "m" * 65, "gate.metric"),
        (("distill", "small", "student"), {"a": datetime.date(2026, 1, 1)}, "holds datetime.date(2026, 1, 1), date"),
        (("distill", "small", "student"), {"a": {2: 3}}, "the key 2, which is no text"),
        (("distill", "small", "student"), {"a": [float("nan")]}, "holds nan, float"),
        (("distill", "small", "student"), {1: 2}, "distill.small.student.1"),
    ],
)
def test_every_value_has_a_bound(raw: dict[str, Any], path: tuple[str, ...], value: Any, said: str) -> None:
    *sections, key = path
    inner = raw
    for section in sections:
        inner = inner[section]
    inner[key] = value
    found = problems_of(raw)
    assert any(said in problem for problem in found), found
    assert all(len(problem) < 400 for problem in found)


@pytest.mark.parametrize("name", ["A", "a b", "ä", ".", "..", "a/b", "-a", "a\n", "", "a" * 65, 1.5])
def test_odd_names_are_refused(raw: dict[str, Any], name: object) -> None:
    raw["prune"][name] = {"source": "teacher", "method": "magnitude", "fraction": 0.5}
    assert any("a variant's name" in problem for problem in problems_of(raw))


def test_many_mistakes_are_told_in_few_lines(raw: dict[str, Any]) -> None:
    raw |= {f"unknown{number}" * 500: 1 for number in range(200)}
    lines = str(ParamsError(problems_of(raw))).splitlines()
    assert len(lines) == 51
    assert lines[-1] == "and 150 more"
    assert max(map(len, lines)) < 400
