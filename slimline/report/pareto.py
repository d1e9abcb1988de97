"""Accuracy against what it costs: every deployed variant with its intervals, and the frontier that nothing beats."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from slimline.report.figures import empty_figure
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
LABEL_PX, LABEL_TALL = 12.5, 15.0
VERDICT_COLOURS = {
    "accept": "var(--accept,#17703f)",
    "inconclusive": "var(--inconclusive,#9a6400)",
    "reject": "var(--reject,#ad2a1f)",
}
SHAPES = ("circle", "square", "diamond", "triangle")
Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels"""


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
) -> str:
    """Points with whiskers over a logarithmic cost; colour and filling say the verdict, shape the group, one label a name."""
    if not points:
        return empty_figure("no variant is deployed")
    shown = [*points, *([levels.baseline] if levels.baseline else [])]
    heights = [y for point in shown for y in (point.y, *(point.y_interval or ()))] + ([levels.floor] if levels.floor is not None else [])
    widths = [x for point in shown for x in (point.x, *(point.x_interval or ()))]
    x = Axis(scale(widths, (LEFT, RIGHT), log=True, room=0.05), x_label, x_format)
    y = Axis(scale(heights, (BOTTOM, TOP), room=0.05), y_label, y_format)
    groups = sorted({point.group for point in points})
    parts = [*_keys(groups, sorted({point.verdict for point in points})), *frame(x, y)]
    parts += [*_levels(levels, x, y), *_frontier(points, x, y), *_siblings(points, x, y)]
    parts += [part for point in points for part in _whiskers(point, x, y)]
    parts += [
        _marker(x.scale(point.x), y.scale(point.y), SHAPES[groups.index(point.group) % len(SHAPES)], point.verdict) for point in points
    ]
    parts += _labels(points, levels, x, y)
    return drawing(WIDTH, HEIGHT, parts, f"{y_label} against {x_label}, {len(points)} deployed variants")


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
        parts.append(label(RIGHT, at + 15, f"lowest the gate allows: {y.format(levels.floor)}", text_anchor="end"))
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
    corners = [(0, -6.4), (6.4, 0), (0, 6.4), (-6.4, 0)] if shape == "diamond" else [(0, -6.2), (6, 4.8), (-6, 4.8)]
    return element("polygon", points=" ".join(f"{coordinate(across + dx)},{coordinate(up + dy)}" for dx, dy in corners), **style)


def _labels(points: Sequence[Point], levels: Levels, x: Axis, y: Axis) -> list[str]:
    """One label a name, put where it covers least; a line leads to its point where it stands apart."""
    taken: list[Box] = [_around(x.scale(point.x), y.scale(point.y), 7) for point in points]
    named = [min((p for p in points if p.name == name), key=lambda p: (p.x, p.group)) for name in sorted({point.name for point in points})]
    if levels.baseline is not None:
        named.insert(0, levels.baseline)
        taken.append(_around(x.scale(levels.baseline.x), y.scale(levels.baseline.y), 8))
    parts = []
    for point in named:
        across, up = x.scale(point.x), y.scale(point.y)
        box = _free_place(across, up, text_px(point.name, LABEL_PX), taken)
        taken.append(box)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        if abs(middle[1] - up) > 26:
            parts.append(line(across, up, middle[0], box[3] if middle[1] < up else box[1], stroke=FAINT))
        parts.append(label(middle[0], box[3] - 3.5, point.name, text_anchor="middle", font_size=LABEL_PX, fill=INK, font_weight=600))
    return parts


def _free_place(across: float, up: float, wide: float, taken: Sequence[Box]) -> Box:
    """The nearest box for a text beside a point that covers least of what is there; ties go to the first tried."""
    tries: list[tuple[float, int, Box]] = []
    for distance in (10.0, 24.0, 40.0, 58.0, 78.0, 100.0):
        for dx, dy in ((1, 0), (0, -1), (0, 1), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1)):
            left = across + dx * distance - (0 if dx > 0 else wide if dx < 0 else wide / 2)
            top = up + dy * distance - LABEL_TALL / 2
            box = (left, top, left + wide, top + LABEL_TALL)
            outside = max(0.0, LEFT - left) + max(0.0, left + wide - RIGHT) + max(0.0, 40 - top) + max(0.0, top + LABEL_TALL - BOTTOM)
            covered = sum(_overlap(box, other) for other in taken)
            tries.append((covered + 60 * outside + 0.35 * distance, len(tries), box))
    return min(tries)[2]


def _around(across: float, up: float, reach: float) -> Box:
    return (across - reach, up - reach, across + reach, up + reach)


def _overlap(one: Box, two: Box) -> float:
    wide = min(one[2], two[2]) - max(one[0], two[0])
    tall = min(one[3], two[3]) - max(one[1], two[1])
    return wide * tall if wide > 0 and tall > 0 else 0.0


def _keys(groups: Sequence[str], verdicts: Sequence[str]) -> list[str]:
    parts, x = [], LEFT
    for verdict in verdicts:
        parts += [_marker(x + 6, 14, "circle", verdict), label(x + 18, 18, verdict)]
        x += text_px(verdict) + 40
    x += 16
    for index, group in enumerate(groups):
        style: dict[str, Any] = {"fill": "none", "stroke": SOFT, "stroke_width": 1.6}
        parts += [_outline(x + 6, 14, SHAPES[index % len(SHAPES)], style), label(x + 18, 18, group)]
        x += text_px(group) + 40
    parts += [line(x + 16, 14, x + 40, 14, stroke=ACCENT, stroke_width=1.5, stroke_opacity=0.55), label(x + 47, 18, "frontier")]
    return parts
