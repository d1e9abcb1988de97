"""Many points of a few kinds over two axes; each tells its name where a mouse rests on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from slimline.report.figures import empty_figure, legend
from slimline.report.numbers import short
from slimline.report.svg import SERIES, SHEET, Axis, Format, drawing, element, frame, line, scale

WIDTH, HEIGHT = 860.0, 420.0
LEFT, RIGHT, TOP, BOTTOM = 70.0, 842.0, 60.0, 370.0


@dataclass(frozen=True)
class Dot:
    """One point and what it is called; kinds share a colour."""

    name: str
    kind: str
    x: float
    y: float


def scatter_figure(
    dots: Sequence[Dot], kinds: Sequence[str], *, x_label: str, y_label: str, floor: float | None = None, y_format: Format = short
) -> str:
    """Dots over a logarithmic x; `kinds` gives the order of the legend, the last kind drawn on top; `floor` is a line across."""
    if not dots:
        return empty_figure(f"no {y_label}")
    heights = [dot.y for dot in dots] + ([floor] if floor is not None else [])
    x = Axis(scale([dot.x for dot in dots], (LEFT, RIGHT), log=True), x_label, short)
    y = Axis(scale(heights, (BOTTOM, TOP)), y_label, y_format)
    across = [] if floor is None else [line(LEFT, y.scale(floor), RIGHT, y.scale(floor), stroke=SERIES[4], stroke_dasharray="5 4")]
    ordered = sorted(dots, key=lambda dot: kinds.index(dot.kind))
    marks = [_mark(dot, x, y, kinds) for dot in ordered]
    return drawing(WIDTH, HEIGHT, [*legend(kinds, LEFT, 18), *frame(x, y), *across, *marks], f"{y_label} against {x_label}")


def _mark(dot: Dot, x: Axis, y: Axis, kinds: Sequence[str]) -> str:
    place = kinds.index(dot.kind)
    told, radius = element("title", escape(dot.name)), 3.5 + place
    return element("circle", told, cx=x.scale(dot.x), cy=y.scale(dot.y), r=radius, fill=SERIES[place], stroke=SHEET, stroke_width=1.2)
