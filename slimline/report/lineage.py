"""Where each variant comes from: the tree of sources, drawn from the teacher on the left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slimline.report.pareto import VERDICT_COLOURS
from slimline.report.svg import FAINT, INK, LINE, SHEET, coordinate, drawing, element, label

BOX_WIDE, BOX_TALL, GAP_ACROSS, GAP_DOWN = 196.0, 58.0, 44.0, 14.0
NAME_PX, DETAIL_PX = 13.5, 11.5


@dataclass(frozen=True)
class Node:
    """A variant: its source, how it was made, what it reached, and its best verdict (None where it is not deployed)."""

    name: str
    source: str | None
    made: str
    reached: str
    verdict: str | None


def lineage_figure(nodes: Sequence[Node]) -> str:
    """A tree with one box a variant; every source must be among the nodes."""
    children = {node.name: [child for child in nodes if child.source == node.name] for node in nodes}
    places: dict[str, tuple[int, float]] = {}
    rows = 0.0
    for root in (node for node in nodes if node.source is None):
        rows = _place(root, 0, rows, children, places)
    wide = (max(depth for depth, _ in places.values()) + 1) * (BOX_WIDE + GAP_ACROSS) - GAP_ACROSS + 4
    tall = rows * (BOX_TALL + GAP_DOWN) - GAP_DOWN + 4
    edges = [_edge(places[node.source], places[node.name]) for node in nodes if node.source is not None]
    boxes = [part for node in nodes for part in _box(node, *_corner(places[node.name]))]
    return drawing(wide, tall, [*edges, *boxes], f"lineage of {len(nodes)} variants")


def _place(node: Node, depth: int, first: float, children: Mapping[str, Sequence[Node]], places: dict[str, tuple[int, float]]) -> float:
    """Give a node the row of its first child (leaves take the next free row); returns the next free row."""
    following = first
    for child in children[node.name]:
        following = _place(child, depth + 1, following, children, places)
    places[node.name] = (depth, first)
    return max(following, first + 1)


def _corner(place: tuple[int, float]) -> tuple[float, float]:
    return 2 + place[0] * (BOX_WIDE + GAP_ACROSS), 2 + place[1] * (BOX_TALL + GAP_DOWN)


def _edge(source: tuple[int, float], target: tuple[int, float]) -> str:
    (from_x, from_y), (to_x, to_y) = _corner(source), _corner(target)
    start, end, middle = from_x + BOX_WIDE, to_x, from_x + BOX_WIDE + GAP_ACROSS / 2
    up, down = from_y + BOX_TALL / 2, to_y + BOX_TALL / 2
    turn = min(8.0, abs(down - up) / 2)
    points = [coordinate(value) for value in (start, up, middle - turn, middle, up + turn, down - turn, middle + turn, end, down)]
    s, u, before, m, u_turn, d_turn, after, e, d = points
    bend = f"M{s} {u}H{before}Q{m} {u} {m} {u_turn}V{d_turn}Q{m} {d} {after} {d}H{e}" if turn else f"M{s} {u}H{e}"
    return element("path", d=bend, fill="none", stroke=FAINT, stroke_width=1.5)


def _box(node: Node, x: float, y: float) -> list[str]:
    colour = VERDICT_COLOURS.get(node.verdict or "", LINE)
    return [
        element("rect", x=x, y=y, width=BOX_WIDE, height=BOX_TALL, rx=7.0, fill=SHEET, stroke=LINE),
        element("rect", x=x, y=y, width=5.0, height=BOX_TALL, rx=2.5, fill=colour),
        label(x + 15, y + 19, node.name, font_size=NAME_PX, fill=INK, font_weight=650),
        label(x + 15, y + 34, node.made, font_size=DETAIL_PX),
        label(x + 15, y + 49, node.reached, font_size=DETAIL_PX),
    ]
