"""MODEL_CARD.md of a release: what it is, where it comes from, how it was judged, how to load it, what its limits are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from slimline.artifact.compiled import CompiledManifest
from slimline.errors import InputError

TEMPLATES = Path("reports/templates")
TEMPLATE = "model_card.md.j2"


def model_card(root: Path, manifest: CompiledManifest, row: Mapping[str, Any], summary: Mapping[str, Any], url: str) -> str:
    """The card in Markdown: `row` is the release's entry in `summary` (reports/summary.json), `url` where it will stand.

    Raises:
        InputError: the template is missing or broken, or the summary lacks a figure that it shows.
    """
    folder = root / TEMPLATES
    environment = Environment(
        loader=FileSystemLoader(folder), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"figure": _figure, "percent": _percent, "points": _points, "quality": _quality}
    try:
        return environment.get_template(TEMPLATE).render(release=manifest, row=row, summary=summary, url=url)
    except (TemplateError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / TEMPLATE}: {row['variant']}-{row['target']}: {type(error).__name__}: {error}; mend the template"
        ) from error


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{value * 100:.2f} %"


def _quality(value: float, unit: str) -> str:
    return _percent(value) if unit == "fraction" else f"{value:.4g} {unit}".rstrip()


def _points(value: float, unit: str) -> str:
    return f"{value * 100:+.2f} points" if unit == "fraction" else f"{value:+.4g} {unit}".rstrip()
