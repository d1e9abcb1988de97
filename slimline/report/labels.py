"""Names beside the points of a figure, each put where it covers least."""

import math
from collections.abc import Sequence
from typing import Any

from slimline.report.svg import FAINT, INK, SHEET, label, line

Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels"""
Anchor = tuple[str, float, float]
"""a name and the pixel of its point"""

LABEL_PX, LABEL_TALL, CHARACTER_PX, CLEARANCE_PX = 12.5, 15.0, 7.7, 3.0
DISTANCES_PX = (9.0, 16.0, 24.0, 34.0, 46.0, 60.0, 76.0, 94.0, 114.0)
DIRECTIONS = ((1, 0), (0, -1), (0, 1), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1))
LEADER_FROM_PX = 15.0
WEIGHT_OF_LINE, WEIGHT_OF_DISTANCE, WEIGHT_OF_OUTSIDE = 0.12, 1.6, 60.0
STYLE: dict[str, Any] = {
    **{"text_anchor": "middle", "font_size": LABEL_PX, "font_weight": 600, "fill": INK},
    **{"stroke": SHEET, "stroke_width": 4, "stroke_linejoin": "round", "paint_order": "stroke"},
}


def place_labels(anchors: Sequence[Anchor], points: Sequence[Box], lines: Sequence[Box], bounds: Box) -> tuple[list[str], list[str]]:
    """Leaders, to be drawn below the points, and names, to be drawn above them; same input, same places.

    A name keeps off `points` and the names before it, and off `lines` where that costs little; a leader joins it to a far point.
    """
    taken, leaders, names = list(points), [], []
    for name, across, up in anchors:
        box = _best_box(across, up, CHARACTER_PX * len(name), (taken, lines, bounds))
        taken.append((box[0] - CLEARANCE_PX, box[1], box[2] + CLEARANCE_PX, box[3]))
        near = (min(max(across, box[0]), box[2]), min(max(up, box[1]), box[3]))
        if math.dist(near, (across, up)) > LEADER_FROM_PX:
            leaders.append(line(across, up, *near, stroke=FAINT))
        names.append(label((box[0] + box[2]) / 2, box[3] - 3.5, name, **STYLE))
    return leaders, names


def around(across: float, up: float, reach: float) -> Box:
    """The square about a pixel."""
    return (across - reach, up - reach, across + reach, up + reach)


def _best_box(across: float, up: float, wide: float, covered: tuple[Sequence[Box], Sequence[Box], Box]) -> Box:
    """The box for a text beside a point that costs least; ties go to the first tried."""
    taken, lines, bounds = covered
    tries: list[tuple[float, int, Box]] = []
    for distance in DISTANCES_PX:
        for dx, dy in DIRECTIONS:
            left = across + dx * distance - (0 if dx > 0 else wide if dx < 0 else wide / 2)
            top = up + dy * (distance + (LABEL_TALL / 2 if dy else 0)) - LABEL_TALL / 2
            box = (left, top, left + wide, top + LABEL_TALL)
            cost = sum(_overlap(box, other) for other in taken) + WEIGHT_OF_LINE * sum(_overlap(box, other) for other in lines)
            tries.append((cost + WEIGHT_OF_OUTSIDE * _outside(box, bounds) + WEIGHT_OF_DISTANCE * distance, len(tries), box))
    return min(tries)[2]


def _outside(box: Box, bounds: Box) -> float:
    return sum(max(0.0, beyond) for beyond in (bounds[0] - box[0], bounds[1] - box[1], box[2] - bounds[2], box[3] - bounds[3]))


def _overlap(one: Box, two: Box) -> float:
    wide = min(one[2], two[2]) - max(one[0], two[0])
    tall = min(one[3], two[3]) - max(one[1], two[1])
    return wide * tall if wide > 0 and tall > 0 else 0.0
