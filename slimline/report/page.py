"""One page a stage and variant: Markdown for a terminal or Prefect, self-contained HTML for people."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from slimline.artifact.folder import write_text
from slimline.report.numbers import ABSENT, is_number
from slimline.report.render import TEMPLATES, render

HOME = "../../index.html"
LONG_CELL = 60


@dataclass(frozen=True)
class Row:
    """One figure of the baseline and of the variant; the page computes the difference and the ratio.

    `unit` is free text; "bytes", "ms" and "fraction" (a share of one, shown in per cent) are written in their own way.
    """

    name: str
    baseline: float | None
    variant: float | None
    unit: str = ""
    better: Literal["higher", "lower"] | None = None


@dataclass(frozen=True)
class Table:
    """A table of plain values; numbers are formatted and aligned right, `markupsafe.Markup` is put in as HTML."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    note: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers only (None or a dash is a missing number)."""
        columns = [[row[index] for row in self.rows] for index in range(len(self.columns))]
        return tuple(any(map(is_number, cells)) and all(cell in (None, ABSENT) or is_number(cell) for cell in cells) for cells in columns)

    @property
    def wordy(self) -> bool:
        """Whether a cell holds a sentence, for which a narrow table has no room."""
        return any(isinstance(cell, str) and len(cell) > LONG_CELL for row in self.rows for cell in row)


@dataclass(frozen=True)
class Figure:
    """A drawing as inline SVG, made by slimline.report.figures."""

    title: str
    svg: str
    note: str = ""

    @property
    def markup(self) -> Markup:
        """The SVG, which figures.py has escaped."""
        return Markup(self.svg)


@dataclass(frozen=True)
class StagePage:
    """What one stage tells about one variant: sentences, a comparison with the baseline, tables, figures and notes."""

    stage: str
    variant: str
    title: str
    summary: tuple[str, ...]
    comparison: tuple[Row, ...]
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()


def write_page(page: StagePage, path_without_ending: Path, *, templates: Path = TEMPLATES) -> None:
    """Write `<path>.md` and `<path>.html`; same page, same bytes.

    Raises:
        InputError: the templates are not found from the current folder, or one is broken.
    """
    for ending in ("md", "html"):
        text = render(f"stage.{ending}.j2", {"page": page, "home": HOME}, templates)
        write_text(path_without_ending.with_name(f"{path_without_ending.name}.{ending}"), text)
