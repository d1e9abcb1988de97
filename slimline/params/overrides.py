"""The one writer of params.yaml: it changes the values it is asked to change where they stand, and no other character.

So comments, quotes and order stay, and what is written is read again and compared before anybody sees it.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node

from slimline.errors import InputError
from slimline.params.yaml_file import SHOWN, children, compose_yaml, parse_yaml

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def with_overrides(text: str, overrides: Mapping[str, str], origin: str = "params.yaml") -> str:
    """The text of params.yaml with `section.key` set to values that are written as YAML, as `--set` gives them.

    Raises:
        InputError: a value is no YAML, a section is unknown, or a value cannot be changed where it stands.
    """
    for key, written in overrides.items():
        value = parse_yaml(written, f"--set {key}={' '.join(written.split())[:SHOWN]}")
        expected = _assigned(parse_yaml(text, origin), key, value, origin)
        text = _changed(text, key, value, origin)
        if _frozen(_parsed(text, key, origin)) != _frozen(expected):
            raise _shared(key, origin)
    return text


def flow(value: Any) -> str:
    """A plain value on one line, text always in quotes: it reads as the same value wherever it is put."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(map(_escaped, value)) + '"'
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return json.dumps(value)


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def _key(key: str) -> str:
    return key if _WORD.fullmatch(key) and parse_yaml(key, key) == key else flow(key)


def _assigned(content: Any, key: str, value: Any, origin: str) -> Any:
    """What the file is to hold afterwards; what an anchor shares is a copy of its own here."""
    root = inner = json.loads(json.dumps(content))
    *sections, leaf = key.split(".")
    for depth, section in enumerate(sections, start=1):
        found = inner.get(section) if isinstance(inner, dict) else None
        if not isinstance(found, dict):
            known = ", ".join(inner) if isinstance(inner, dict) else "nothing"
            raise InputError(f"--set {key}: {origin} has no section {'.'.join(sections[:depth])!r}; there are: {known}")
        inner = found
    inner[leaf] = value
    return root


def _changed(text: str, key: str, value: Any, origin: str) -> str:
    *sections, leaf = key.split(".")
    node = compose_yaml(text, origin)
    for section in sections:
        node = _entry(node, section)
    if not isinstance(node, MappingNode):
        raise _shared(key, origin)
    there = _entry(node, leaf)
    return _inserted(text, node, f"{_key(leaf)}: {flow(value)}") if there is None else _replaced(text, there, flow(value))


def _entry(node: Node | None, key: str) -> Node | None:
    entries = node.value if isinstance(node, MappingNode) else ()
    return next((value for name, value in entries if name.value == key), None)


def _replaced(text: str, node: Node, written: str) -> str:
    start, end = node.start_mark.index, _end(node)
    block = bool(list(children(node))) and not node.flow_style  # its items may stand no further right than the key
    before = " " if block or not text[start - 1 : start].isspace() else ""  # `key:` alone is null, with nothing after it
    after = "\n" if text[start:end].endswith("\n") else ""
    return text[:start] + before + written + after + text[end:]


def _end(node: Node) -> int:
    """Where its last character is: a block ends for the parser only where the next thing begins."""
    below = list(children(node))
    return _end(below[-1]) if below and not node.flow_style else int(node.end_mark.index)


def _inserted(text: str, mapping: MappingNode, entry: str) -> str:
    """The mapping with a new first entry."""
    if mapping.flow_style:
        start = text.index("{", mapping.start_mark.index) + 1
        return f"{text[:start]}{entry}{', ' if mapping.value else ''}{text[start:]}"
    first = mapping.value[0][0].start_mark
    return f"{text[: first.index]}{entry}\n{' ' * first.column}{text[first.index :]}"


def _parsed(text: str, key: str, origin: str) -> Any:
    try:
        return parse_yaml(text, origin)
    except InputError:
        raise _shared(key, origin) from None


def _shared(key: str, origin: str) -> InputError:
    return InputError(f"--set {key}: {origin} writes it in a way that one value cannot be changed in (&, * or <<); write it out there")


def _frozen(content: Any) -> str:
    return json.dumps(content, sort_keys=True)
