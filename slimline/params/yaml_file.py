"""The one reader of YAML: it reads as DVC does (YAML 1.2 by ruamel over libyaml), so that `slimline check` and DVC see the same values.

What it gives are plain values: text, numbers, true and false, null, lists, and mappings with text as keys. Whatever else YAML can
write, or cannot read, is refused in one line with its place: dates, tags, keys that stand twice, anchors that hold themselves or grow
without bound. https://yaml.org/spec/1.2.2/#chapter-10-recommended-schemas (core schema)
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError

from slimline.errors import InputError

MAX_BYTES = 16 << 20
MAX_DEPTH = 64
MAX_VALUES = 1_000_000
"""Values after every alias is written out."""
SHOWN = 40
_TAG = "tag:yaml.org,2002:"
_PLAIN = {_TAG + name: "scalar" for name in ("null", "bool", "int", "float", "str")} | {_TAG + "seq": "sequence", _TAG + "map": "mapping"}
"""Tag of a plain value -> the kind of node that may have it."""
_MERGE = _TAG + "merge"
_QUOTE = {_TAG + "timestamp": "a date", _TAG + "value": "YAML's default key", _MERGE: "YAML's key for merging"}
_KINDS = {_TAG + "null": "null", _TAG + "bool": "true or false", _TAG + "int": "a number", _TAG + "float": "a number"}


def read_yaml(path: Path) -> Any:
    """The content of a file; None where it is empty.

    Raises:
        FileNotFoundError: there is none.
        InputError: it cannot be read; one line with the place.
    """
    return parse_yaml(yaml_text(path), path.name)


def yaml_text(path: Path) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        FileNotFoundError: there is none.
        InputError: it is too large, no UTF-8, or the system refuses.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path.name}: holds {size:,} bytes, at most {MAX_BYTES:,} are read; is this the right file?")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path.name}: line {line}: not readable as YAML: no UTF-8 ({error.reason}); save the file as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read: {error.strerror}") from None


def parse_yaml(text: str, origin: str) -> Any:
    """Plain values from YAML text; `origin` is what a message calls it.

    Raises:
        InputError: it is no YAML, or holds what is no plain value; one line with the place.
    """
    return None if compose_yaml(text, origin) is None else YAML(typ="safe").load(text)


def compose_yaml(text: str, origin: str) -> Node | None:
    """The tree of nodes, each with its place in the text; all that `parse_yaml` refuses is refused here.

    Raises:
        InputError: as `parse_yaml`.
    """
    try:
        _refuse_depth(text, origin)
        node = YAML(typ="safe").compose(text)
    except UnicodeEncodeError as error:
        raise InputError(f"{origin}: not readable as YAML: {error.object[error.start]!a} is no character; give UTF-8") from None
    except YAMLError as error:
        raise InputError(f"{origin}: {_explained(error, text)}") from None
    if node is not None:
        _refuse_values(node, origin)
    return node


def _explained(error: YAMLError, text: str) -> str:
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"line {line}: not readable as YAML: character {error.character!r} may not stand in it"
    if not isinstance(error, MarkedYAMLError):
        return f"not readable as YAML: {' '.join(str(error).split())}"
    mark = error.problem_mark or error.context_mark
    problem = ", ".join(part for part in (error.context, error.problem) if part)
    hint = "; put text that holds a ':' in quotes" if "found unexpected ':'" in problem else ""
    hint = "; indent with spaces" if mark and any(line.startswith("\t") for line in text.split("\n")[mark.line : mark.line + 1]) else hint
    return f"{_place(mark) if mark else ''}not readable as YAML: {' '.join(problem.split())}{hint}"


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: "


def _refuse_depth(text: str, origin: str) -> None:
    depth = 0
    for event in YAML(typ="safe").parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise InputError(f"{origin}: {_place(event.start_mark)}nested more than {MAX_DEPTH} deep")


def _refuse_values(root: Node, origin: str) -> None:
    """Refuse what is no plain value, and anchors that hold themselves or grow without bound."""
    grown: dict[int, tuple[int, int]] = {}
    read = YAML(typ="safe").constructor.construct_object

    def measured(node: Node) -> tuple[int, int]:
        """How many values it holds and how deep they are nested, with every alias written out."""
        if grown.get(id(node)) == (0, 0):
            raise InputError(f"{origin}: {_place(node.start_mark)}an anchor that holds itself; write the values out")
        if id(node) not in grown:
            grown[id(node)] = (0, 0)
            if problem := _problem(node, read):
                raise InputError(f"{origin}: {problem}")
            below = [measured(child) for child in children(node)]
            grown[id(node)] = 1 + sum(values for values, _ in below), 1 + max((depth for _, depth in below), default=0)
        values, depth = grown[id(node)]
        if values > MAX_VALUES or depth > MAX_DEPTH:
            raise InputError(
                f"{origin}: {_place(node.start_mark)}aliases that make {values:,} values, {depth} deep; write out what is meant"
            )
        return values, depth

    measured(root)


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below: keys and values, or items."""
    if isinstance(node, ScalarNode):
        return
    for child in node.value:
        yield from child if isinstance(node, MappingNode) else (child,)


def _problem(node: Node, read: Callable[[Node], object]) -> str | None:
    """What is wrong with this node itself."""
    if node.tag in _QUOTE:
        return f"{_place(node.start_mark)}{_shown(node)} is {_QUOTE[node.tag]}, which is no value here; put it in quotes"
    if _PLAIN.get(node.tag) != node.id:
        return f"{_place(node.start_mark)}the tag {node.tag.removeprefix(_TAG)[:SHOWN]!r} is not allowed; remove it"
    if isinstance(node, MappingNode):
        return _key_problem(node)
    if not isinstance(node, ScalarNode):
        return None
    try:
        read(node)
    except (ValueError, KeyError):
        return (
            f"{_place(node.start_mark)}{_shown(node)} is no {node.tag.removeprefix(_TAG)} that can be read; put it in quotes if it is text"
        )
    return None


def _key_problem(mapping: MappingNode) -> str | None:
    """Keys are text, and each stands once; `<<` takes over the entries of another mapping."""
    seen: dict[str, Node] = {}
    for key, value in mapping.value:
        if not isinstance(key, ScalarNode):
            return f"{_place(key.start_mark)}a list or mapping is no key; write text"
        if key.tag == _MERGE:
            key.tag = _TAG + "str"  # examined here, once; what it takes over is examined where it stands
            taken = value.value if value.id == "sequence" else [value]
            if not all(isinstance(one, MappingNode) for one in taken):
                return f"{_place(value.start_mark)}'<<' takes over a mapping or a list of them, and this is none"
        elif key.tag in _KINDS:
            return f"{_place(key.start_mark)}key {_shown(key)} is {_KINDS[key.tag]}; put it in quotes if it is a name"
        if key.value in seen:
            return f"{_place(key.start_mark)}key {_shown(key)} stands twice, first in line {seen[key.value].start_mark.line + 1}"
        seen[key.value] = key
    return None


def _shown(node: ScalarNode) -> str:
    text = str(node.value)
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,} characters)")
