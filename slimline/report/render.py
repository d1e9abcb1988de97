"""Jinja2 templates of the project's reports/templates: an unknown name is an error, and HTML is escaped."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError
from markupsafe import Markup

from slimline.errors import InputError
from slimline.report import numbers

TEMPLATES = Path("reports/templates")
_FILTERS = (
    "change",
    "count",
    "judged",
    "listed",
    "loss",
    "milliseconds",
    "number",
    "percent",
    "points",
    "quantity",
    "ratio",
    "size",
    "times",
)
_ESCAPES = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_{}[]<>|#~"})


def render(template: str, context: Mapping[str, Any], templates: Path = TEMPLATES) -> str:
    """One text from one template; same context, same bytes.

    Raises:
        InputError: the template is missing, broken, or asks for a value that was not given.
    """
    try:
        text = _environment(templates.resolve()).get_template(template).render(context)
    except TemplateError as error:
        where = f", line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        raise InputError(
            f"{templates / template}{where}: {type(error).__name__}: {error}; run inside a project folder and mend the template there"
        ) from error
    return text.rstrip() + "\n"


def markdown_text(value: Any) -> str:
    """A value as Markdown that shows it literally, on one line; a picture becomes a hint at the HTML page."""
    if isinstance(value, Markup):
        return value.striptags().translate(_ESCAPES) or "(see the HTML page)"
    return " ".join(numbers.number(value).split()).translate(_ESCAPES)


@cache
def _environment(folder: Path) -> Environment:
    """Templates ending in .html.j2 escape what they are given; the others make Markdown."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    environment.filters.update({name: getattr(numbers, name) for name in _FILTERS})
    environment.filters["literal"] = markdown_text
    return environment
