"""The mistakes that pydantic finds in params.yaml, in the words of params.yaml."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

LONGEST = 100
"""Characters of a key or a value that a message shows."""
Configs = Mapping[str, Mapping[str, type[BaseModel]]]
"""Section -> method -> its config."""


def explained(error: ValidationError, origin: str, model: type[BaseModel], configs: Configs) -> Iterator[str]:
    """A line for each mistake; `model` is that of the whole file, `origin` the file's name."""
    problems: list[dict[str, Any]] = [{**problem, "loc": _unmarked(problem["loc"])} for problem in error.errors(include_url=False)]
    inside = {problem["loc"][:-1] for problem in problems}
    for problem in problems:
        if problem["type"] == "too_short" and problem["loc"] in inside:
            continue  # the items that are wrong have been told already
        path = _without_discriminator(problem["loc"], configs)
        key = _short(".".join(str(part) for part in path))
        if problem["type"] == "extra_forbidden":
            yield f"{origin}: {key}: unknown key{_suggestion(str(path[-1])[:LONGEST], _allowed_keys(problem['loc'], model, configs))}"
        elif problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
            given = problem.get("input")
            method = given.get("method") if isinstance(given, Mapping) else None
            known = ", ".join(configs[str(problem["loc"][0])])
            yield f"{origin}: {key}.method: {f'unknown method {_short(repr(method))}' if method else 'missing'}; known: {known}"
        elif problem["input"] is None and problem["type"] in ("dict_type", "model_type"):
            way_out = f"write `{path[-1]}: {{}}` for a section without entries" if len(path) == 1 else "give it entries, or remove it"
            yield f"{origin}: {key}: empty; {way_out}"
        elif problem["type"] == "missing":
            yield f"{origin}: {key}: missing; add it"
        else:
            given = problem.get("input")
            shown = "" if isinstance(given, Mapping) else f" (given: {_short(repr(given))})"
            yield f"{origin}: {key}: {_in_yaml_words(problem['msg'])}{shown}"


def _unmarked(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """A variant's place without the mark that its method is one of ours."""
    return (*loc[:2], *loc[3:]) if loc[2:3] == ("listed",) else loc


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _in_yaml_words(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Tuple", "List").replace("tuple", "list").replace(" after validation", "")


def _without_discriminator(loc: tuple[int | str, ...], configs: Configs) -> tuple[int | str, ...]:
    is_variant = len(loc) > 2 and loc[0] in configs and loc[2] in configs[str(loc[0])]
    return (*loc[:2], *loc[3:]) if is_variant else loc


def _allowed_keys(loc: tuple[int | str, ...], model: type[BaseModel], configs: Configs) -> list[str]:
    for part in loc[:-1]:
        if part in configs.get(str(loc[0]), {}):
            model = configs[str(loc[0])][str(part)]
        elif isinstance(part, str) and part in model.model_fields:
            inner = model.model_fields[part].annotation
            model = next((kind for kind in (inner, *get_args(inner)) if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return sorted(model.model_fields)


def _suggestion(key: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(key, allowed, n=1)
    known = ", ".join(allowed)
    return f"; did you mean {close[0]!r}? (allowed: {known})" if close else f"; allowed: {known}"
