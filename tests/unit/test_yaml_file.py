"""One reader, one writer: what `slimline check` reads is what DVC reads, before and after an override; all else is refused in a line."""

import contextlib
import json
import string
from typing import Any

import pytest
from dvc.utils.serialize import parse_yaml as as_dvc_reads
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slimline.errors import InputError
from slimline.params.overrides import flow, with_overrides
from slimline.params.yaml_file import MAX_DEPTH, parse_yaml

TEXT = """\
# about all of it
workload: digits   # a comment
seed: 0
teacher: {source: "file:w.safetensors", sha256: "0123456789", epochs: 1}
prune:
  # about p50
  p50: {source: teacher, ratio: 0.5} # its tail
  p60:
    source: teacher   # inner
    ratio: 0.5
empty:
deploy:
  targets:
  - onnxruntime
  - openvino   # last
  variants: [teacher,
    p50]
gate: {}
note: |
  two
  lines
"""
KEYS = {
    "seed": ("seed: 0",),
    "workload": ("workload: digits   # a comment",),
    "teacher.sha256": ("teacher: {",),
    "teacher.patience": ("teacher: {",),
    "prune": ("  # about p50", "  p50: ", "  p60:", "    source: ", "    ratio: "),
    "prune.p50.ratio": ("  p50: ",),
    "prune.p60.ratio": ("    ratio: ",),
    "prune.p60": ("    source: ", "    ratio: "),
    "prune.p60.new": (),
    "empty": ("empty:",),
    "deploy.targets": ("  - ",),
    "deploy.variants": ("  variants: [", "    p50]"),
    "gate.metric": ("gate: {}",),
    "gate.yes": ("gate: {}",),
    "note": ("note: |", "  two", "  lines"),
    "prune.1e3": (),
    "new": (),
}
"""What is overridden -> how the lines begin that this may change."""
SCALARS = (
    *(
        "yes",
        "no",
        "on",
        "Off",
        "y",
        "true",
        "TRUE",
        "null",
        "~",
        "1_000",
        "0o17",
        "017",
        "08",
        "0x1F",
        "0b11",
        "1e-3",
        "1e10",
        "1.0e10",
        "1E+3",
    ),
    *(
        "12e45",
        "0123456789",
        "1:30",
        "190:20:30",
        ".5",
        "1.",
        "+1",
        "-0",
        ".inf",
        "-.INF",
        ".nan",
        "1e400",
        "1__0",
        "0_1",
        "_1",
        "2026-1-1x",
        "a:b",
    ),
    *("'1e3'", '"yes"', "a b", "1,000", "é", "12345678901234567890123456789012345", "x#y", "x #y", "!!str 3", "!!int '3'", "0.1_0"),
)
fragments = st.lists(st.sampled_from([*SCALARS, *"0123456789.eExob_+-:, {}[]#&*!|>'\"%@`?\n\t~="]), max_size=6).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text() | st.sampled_from(SCALARS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(string.printable, max_size=5), inner, max_size=3),
    max_leaves=6,
)


def as_dvc(text: str) -> Any:
    return as_dvc_reads(text, "params.yaml")


@settings(max_examples=300)
@given(fragments)
@example("file:weights.safetensors")
def test_check_reads_what_dvc_reads(written: str) -> None:
    for text in (f"a: {written}\nb: 1\n", f"a: {{x: {written}, y: 1}}\n"):
        with contextlib.suppress(InputError):
            assert repr(parse_yaml(text, "params.yaml") or {}) == repr(as_dvc(text))


@pytest.mark.parametrize("written", SCALARS)
def test_scalars_of_both_yamls_read_the_same(written: str) -> None:
    assert repr(parse_yaml(f"a: {written}\n", "params.yaml")) == repr(as_dvc(f"a: {written}\n"))


@settings(max_examples=200)
@given(st.sampled_from(sorted(KEYS)), values)
def test_an_override_changes_its_value_and_nothing_else(key: str, value: Any) -> None:
    written = with_overrides(TEXT, {key: flow(value)})
    expected = as_dvc(TEXT)
    *sections, leaf = key.split(".")
    inner = expected
    for section in sections:
        inner = inner[section]
    inner[leaf] = value
    assert json.dumps(as_dvc(written), sort_keys=True) == json.dumps(expected, sort_keys=True)
    assert parse_yaml(written, "params.yaml") == as_dvc(written)
    for line in set(TEXT.splitlines()) - set(written.splitlines()):
        assert line.startswith(KEYS[key])


def test_a_dictionary_of_overrides_is_applied_in_order() -> None:
    once = with_overrides(TEXT, {"gate.metric": "accuracy", "gate": "{max_drop: 1e-3}", "teacher.sha256": "'00123'"})
    assert as_dvc(once)["gate"] == {"max_drop": 0.001}
    assert 'sha256: "00123"' in once


LAUGHS = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
CHAIN = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 2 * MAX_DEPTH))
REFUSED = (
    ("a: 1\nb: 2\na: 3\n", "line 3, column 1: key 'a' stands twice, first in line 1"),
    ("a: &x {r: 1}\nb: {q: 2, <<: *x, q: 3}", "line 2, column 19: key 'q' stands twice"),
    ("a:\n\t- b", "line 2, column 1: not readable as YAML: .*; indent with spaces"),
    ("a: {source: file:x}", "line 1, column 17: .*put text that holds a ':' in quotes"),
    ("a: 1\n---\nb: 1", "line 2, column 1: not readable as YAML: expected a single document"),
    ("a: [1, 2", "not readable as YAML"),
    ("a: 'x", "not readable as YAML"),
    ("a: \x01", "line 1: not readable as YAML: character"),
    ("b: 1\na: \x00", "line 2: not readable as YAML: character"),
    ("a: '\ud800'", "not readable as YAML: .*no character"),
    ("%YAML 3.0\n---\na: 1", "line 1, column 1: not readable as YAML"),
    ("a: 2026-02-30", "line 1, column 4: '2026-02-30' is a date, which is no value here; put it in quotes"),
    ("a: 2026-01-01 10:00:00", "is a date"),
    ("2026-01-01: {}", "is a date"),
    ("a: " + "9" * 5000, r"line 1, column 4: '9{40}… \(5,000 characters\)' is no int that can be read"),
    ("a: 0x_", "'0x_' is no int that can be read"),
    ("a: !!float x", "'x' is no float"),
    ("a: !!bool x", "'x' is no bool"),
    ("a: !!binary aGk=", "the tag 'binary' is not allowed"),
    ("a: !!set {x}", "the tag 'set' is not allowed"),
    ("a: !!omap [b: 1]", "the tag 'omap' is not allowed"),
    ("a: !!str [1]", "the tag 'str' is not allowed"),
    ("a: !!python/object/apply:os.system [ls]", "line 1, column 4: the tag 'python/object/apply:os.system' is not allowed"),
    ("a: !mine x", "the tag '!mine' is not allowed"),
    ("a: =", "put it in quotes"),
    ("a: <<", "put it in quotes"),
    ("a: {<<: [1]}", "line 1, column 9: '<<' takes over a mapping"),
    ("4: {}", "key '4' is a number; put it in quotes"),
    ("1e3: {}", "key '1e3' is a number"),
    ("null: {}", "key 'null' is null"),
    ("true: {}", "key 'true' is true or false"),
    ("? [1, 2]\n: 3", "a list or mapping is no key"),
    ("a: [*b]", "undefined alias"),
    ("&a [*a]", "line 1, column 1: an anchor that holds itself"),
    ("a: &x {b: {c: *x}}", "line 1, column 4: an anchor that holds itself"),
    (LAUGHS, "aliases that make"),
    (CHAIN, "aliases that make"),
    ("[" * 100_000, "nested more than"),
    ("- " * 100_000, "nested more than"),
)


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[text[:16] for text, _ in REFUSED])
def test_what_is_no_plain_value_is_refused_in_one_line_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        parse_yaml(text, "params.yaml")
    assert str(refused.value).startswith("params.yaml: ")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_what_yaml_can_share_and_merge_stays() -> None:
    text = "a: &x {r: 1}\nb: {<<: *x, q: 2}\nc: *x\n"
    assert parse_yaml(text, "params.yaml") == as_dvc(text) == {"a": {"r": 1}, "b": {"r": 1, "q": 2}, "c": {"r": 1}}
    assert as_dvc(with_overrides(text, {"b.r": "5"})) == {"a": {"r": 1}, "b": {"r": 5, "q": 2}, "c": {"r": 1}}
    for key in ("a.r", "c.r", "c"):
        with pytest.raises(InputError, match=rf"--set {key}: .*anchor|--set {key}: .*&"):
            with_overrides(text, {key: "5"})


@pytest.mark.parametrize("value", ["[1", "2026-02-30", "!!python/name:os.system", "&a [*a]", "a: b: c", "\x01", "- \t x:\n\ty", "[" * 5000])
def test_a_value_that_is_no_yaml_is_refused_by_its_key(value: str) -> None:
    with pytest.raises(InputError, match="--set seed=") as refused:
        with_overrides(TEXT, {"seed": value})
    assert "\n" not in str(refused.value)
