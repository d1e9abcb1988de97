"""Accuracy against what it costs: every deployed variant with its intervals, and the frontier that nothing beats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Any

from slimline.report.figures import empty_figure
from slimline.report.labels import Box, around, place_labels
from slimline.report.numbers import short
from slimline.report.svg import (
    ACCENT,
    FAINT,
    INK,
    SHEET,
    SOFT,
    Axis,
    Format,
    coordinate,
    drawing,
    element,
    frame,
    label,
    line,
    scale,
    text_px,
)

WIDTH, HEIGHT = 980.0, 500.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 960.0, 66.0, 448.0
VERDICT_COLOURS = {
    "accept": "var(--accept,#17703f)",
    "inconclusive": "var(--inconclusive,#9a6400)",
    "reject": "var(--reject,#ad2a1f)",
}
POLYGONS = {
    "diamond": ((0, -6.4), (6.4, 0), (0, 6.4), (-6.4, 0)),
    "triangle": ((0, -6.2), (6, 4.8), (-6, 4.8)),
    "hanging triangle": ((0, 6.2), (6, -4.8), (-6, -4.8)),
    "hexagon": ((-3.1, -5.4), (3.1, -5.4), (6.2, 0), (3.1, 5.4), (-3.1, 5.4), (-6.2, 0)),
    "upright bar": ((-2.8, -6.4), (2.8, -6.4), (2.8, 6.4), (-2.8, 6.4)),
}
SHAPES = ("circle", "square", *POLYGONS)
"""As many as there are targets."""
AS_THEY_ARE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Point:
    """One deployed variant: what it costs (x, the less the better), its quality (y) and their intervals."""

    name: str
    group: str
    verdict: str
    x: float
    y: float
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Levels:
    """What the points are held against: the baseline's own point, and the lowest quality that the gate lets pass."""

    baseline: Point | None = None
    floor: float | None = None


def pareto_figure(
    points: Sequence[Point],
    levels: Levels,
    *,
    x_label: str,
    y_label: str,
    x_format: Format = short,
    y_format: Format = short,
    words: Mapping[str, str] = AS_THEY_ARE,
) -> str:
    """Points with whiskers over a logarithmic cost; colour and filling say the verdict, shape the group, one label a name.

    `words` are what the key calls the verdicts, where these are none.
    """
    if not points:
        return empty_figure("no variant is deployed")
    shown = [*points, *([levels.baseline] if levels.baseline else [])]
    heights = [y for point in shown for y in (point.y, *(point.y_interval or ()))] + ([levels.floor] if levels.floor is not None else [])
    widths = [x for point in shown for x in (point.x, *(point.x_interval or ()))]
    x = Axis(scale(widths, (LEFT, RIGHT), log=True, room=0.05), x_label, x_format)
    y = Axis(scale(heights, (BOTTOM, TOP), room=0.05), y_label, y_format)
    groups = sorted({point.group for point in points})
    parts = [*_keys(groups, {verdict: words.get(verdict, verdict) for verdict in sorted({one.verdict for one in points})}), *frame(x, y)]
    parts += [*_levels(levels, x, y), *_frontier(points, x, y), *_siblings(points, x, y)]
    leaders, names = _named(points, levels, x, y)
    parts += [*leaders, *(part for point in points for part in _whiskers(point, x, y))]
    parts += [
        _marker(x.scale(point.x), y.scale(point.y), SHAPES[groups.index(point.group) % len(SHAPES)], point.verdict) for point in points
    ]
    parts += names
    return drawing(WIDTH, HEIGHT, parts, f"{y_label} against {x_label}, {len(points)} deployed variants")


def upwards(quality: Mapping[str, Any]) -> tuple[float, tuple[float, float]]:
    """A metric and its interval from worse to better: one of which less is better stands with its sign turned."""
    low, high = quality["ci"]
    return (quality["value"], (low, high)) if quality["better"] == "higher" else (-quality["value"], (-high, -low))


def axis_text(value: float, unit: str) -> str:
    """A metric at a tick of its axis, by its own sign; a unit other than per cent stands at the axis, where there is room."""
    return f"{100 * abs(value):.4g} %" if unit == "fraction" else f"{abs(value):.4g}"


def axis_name(metric: str, unit: str) -> str:
    """What the axis of a metric is called."""
    return metric if unit in ("fraction", "") else f"{metric} ({unit})"


def frontier(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points that no other beats or equals in both cost and quality, by rising cost."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, -point.y, point.name, point.group)):
        if not best or point.y > best[-1].y:
            best.append(point)
    return tuple(best)


def _frontier(points: Sequence[Point], x: Axis, y: Axis) -> list[str]:
    corners: list[tuple[float, float]] = []
    for point in frontier(points):
        at = (x.scale(point.x), y.scale(point.y))
        corners += [(at[0], corners[-1][1]), at] if corners else [at]
    corners.append((RIGHT, corners[-1][1]))
    path = " ".join(f"{coordinate(across)},{coordinate(up)}" for across, up in corners)
    return [element("polyline", points=path, fill="none", stroke=ACCENT, stroke_width=1.5, stroke_opacity=0.55)]


def _siblings(points: Sequence[Point], x: Axis, y: Axis) -> list[str]:
    """A thin line joins one variant's points on its targets."""
    names = sorted({point.name for point in points})
    chains = [[point for point in points if point.name == name] for name in names]
    return [
        line(x.scale(one.x), y.scale(one.y), x.scale(two.x), y.scale(two.y), stroke=FAINT, stroke_dasharray="1 3")
        for chain in chains
        for one, two in pairwise(chain)
    ]


def _levels(levels: Levels, x: Axis, y: Axis) -> list[str]:
    parts = []
    if levels.floor is not None:
        at = y.scale(levels.floor)
        parts.append(line(LEFT, at, RIGHT, at, stroke=VERDICT_COLOURS["reject"], stroke_dasharray="5 4", stroke_opacity=0.7))
        parts.append(label(RIGHT, at - 6, f"largest drop allowed: {y.format(levels.floor)}", text_anchor="end"))
    if levels.baseline is not None:
        across, up = x.scale(levels.baseline.x), y.scale(levels.baseline.y)
        parts.append(line(LEFT, up, RIGHT, up, stroke=FAINT, stroke_dasharray="2 3"))
        parts.append(element("circle", cx=across, cy=up, r=6.0, fill=INK, stroke=SHEET, stroke_width=2))
    return parts


def _whiskers(point: Point, x: Axis, y: Axis) -> list[str]:
    across, up = x.scale(point.x), y.scale(point.y)
    style = {"stroke": VERDICT_COLOURS.get(point.verdict, SOFT), "stroke_opacity": 0.4}
    parts = []
    if point.y_interval:
        parts.append(line(across, y.scale(point.y_interval[0]), across, y.scale(point.y_interval[1]), **style))
    if point.x_interval:
        parts.append(line(x.scale(point.x_interval[0]), up, x.scale(point.x_interval[1]), up, **style))
    return parts


def _marker(across: float, up: float, shape: str, verdict: str) -> str:
    """Accepted ones are filled, the others hollow, and a rejected one is crossed."""
    colour = VERDICT_COLOURS.get(verdict, SOFT)
    style: dict[str, Any] = {"fill": colour if verdict == "accept" else SHEET, "stroke": colour, "stroke_width": 2}
    drawn = _outline(across, up, shape, style)
    if verdict != "reject":
        return drawn
    cross = [line(across - 2.6, up + 2.6 * way, across + 2.6, up - 2.6 * way, stroke=colour, stroke_width=1.5) for way in (1, -1)]
    return drawn + "".join(cross)


def _outline(across: float, up: float, shape: str, style: dict[str, Any]) -> str:
    if shape == "circle":
        return element("circle", cx=across, cy=up, r=5.2, **style)
    if shape == "square":
        return element("rect", x=across - 4.6, y=up - 4.6, width=9.2, height=9.2, **style)
    points = " ".join(f"{coordinate(across + dx)},{coordinate(up + dy)}" for dx, dy in POLYGONS[shape])
    return element("polygon", points=points, **style)


def _named(points: Sequence[Point], levels: Levels, x: Axis, y: Axis) -> tuple[list[str], list[str]]:
    """One label a name, at its cheapest point; a deployed baseline has the baseline's."""
    shown = [min((p for p in points if p.name == name), key=lambda p: (p.x, p.group)) for name in sorted({point.name for point in points})]
    if (baseline := levels.baseline) is not None:
        shown = [baseline, *(point for point in shown if point.name != baseline.name)]
    anchors = [(point.name, x.scale(point.x), y.scale(point.y)) for point in shown]
    squares = [around(x.scale(point.x), y.scale(point.y), 8) for point in (*points, *shown)]
    return place_labels(anchors, squares, _lines_as_boxes(points, x, y), (LEFT, TOP - 20, RIGHT, BOTTOM))


def _lines_as_boxes(points: Sequence[Point], x: Axis, y: Axis) -> list[Box]:
    """What the frontier and the whiskers cover, so that labels keep off them where they can."""
    best = frontier(points)
    steps = [(x.scale(one.x), y.scale(one.y), x.scale(two.x) if two else RIGHT) for one, two in zip_longest(best, best[1:])]
    boxes = [(left, up - 3, right, up + 3) for left, up, right in steps]
    tall = [(x.scale(point.x), *map(y.scale, point.y_interval)) for point in points if point.y_interval]
    return boxes + [(across - 1.5, high, across + 1.5, low) for across, low, high in tall]


def _keys(groups: Sequence[str], verdicts: Mapping[str, str]) -> list[str]:
    parts, x = [], LEFT
    for verdict, word in verdicts.items():
        parts += [_marker(x + 6, 14, "circle", verdict), label(x + 18, 18, word)]
        x += text_px(word) + 40
    x += 16
    for index, group in enumerate(groups):
        style: dict[str, Any] = {"fill": "none", "stroke": SOFT, "stroke_width": 1.6}
        parts += [_outline(x + 6, 14, SHAPES[index % len(SHAPES)], style), label(x + 18, 18, group)]
        x += text_px(group) + 40
    parts += [line(x + 16, 14, x + 40, 14, stroke=ACCENT, stroke_width=1.5, stroke_opacity=0.55), label(x + 47, 18, "frontier")]
    return parts
