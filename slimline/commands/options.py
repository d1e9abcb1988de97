"""The options of a method, read from its config: name, type, default, what it does."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slimline.params import VariantParams

BOUNDS = {"minimum": "≥", "ge": "≥", "exclusiveMinimum": ">", "gt": ">", "maximum": "≤", "le": "≤", "exclusiveMaximum": "<", "lt": "<"}
"""What JSON Schema and pydantic call bounds -> how they are written."""
WORDS = {"integer": "whole number", "string": "text", "boolean": "true or false", "object": "mapping", "array": "list"}


@dataclass(frozen=True)
class Option:
    """One key that params.yaml may give a method; `recover.epochs` is the key `epochs` inside `recover`."""

    name: str
    type: str
    default: str
    description: str


def options(config: type[VariantParams]) -> tuple[Option, ...]:
    """Every option of a method's config but `method` itself, required ones with the default `required`."""
    schema = config.model_json_schema()
    return tuple(_flattened(schema, schema.get("$defs", {}), "", {}))


def _flattened(schema: Mapping[str, Any], known: Mapping[str, Any], prefix: str, defaults: Mapping[str, Any]) -> Iterator[Option]:
    for name, field in schema["properties"].items():
        if name == "method" and not prefix:
            continue
        default = defaults[name] if name in defaults else field.get("default")
        inner = _section(field, known)
        if inner is not None:
            yield from _flattened(inner, known, f"{prefix}{name}.", default or {})
            continue
        required = name in schema.get("required", ()) and name not in defaults
        shown = "required" if required else "none" if default is None else json.dumps(default).strip('"')
        yield Option(f"{prefix}{name}", _type_text(field), shown, " ".join(field.get("description", "").split()))


def _section(field: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The mapping of keys that a field holds, where it is one (also where it may be left out)."""
    references = [part["$ref"] for part in (field, *field.get("anyOf", ())) if "$ref" in part]
    return known[references[0].rpartition("/")[2]] if references else None


def _type_text(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type_text(part) for part in field["anyOf"] if part.get("type") != "null")
    if "enum" in field or "const" in field:
        return " | ".join(str(value) for value in field.get("enum", [field.get("const")]))
    if "items" in field:
        return f"list of {_type_text(field['items'])}"
    kind = WORDS.get(field.get("type", ""), field.get("type", "anything"))
    bounds = ", ".join(f"{sign} {field[name]:,.10g}" for name, sign in BOUNDS.items() if name in field)
    return f"{kind} {bounds}".strip()
