"""Bars, lines and histograms as inline SVG text: deterministic, readable in light and dark, with nothing to fetch."""

from collections.abc import Mapping, Sequence

from slimline.report.numbers import number, short
from slimline.report.svg import (
    ACCENT,
    FAINT,
    INK,
    SERIES,
    SHEET,
    Axis,
    Format,
    Scale,
    coordinate,
    drawing,
    element,
    frame,
    label,
    line,
    scale,
    text_px,
)

WIDTH = 720.0
HEIGHT = 330.0
MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 18.0, 34.0, 48.0
BAR_PX, BAR_GAP_PX = 15.0, 8.0
LONGEST_LABEL_PX = 250.0
MOST_MARKED_POINTS = 40


def bar_figure(labels: Sequence[str], values: Sequence[float | None], *, x_label: str, y_label: str, value_format: Format = number) -> str:
    """Horizontal bars, one a label; `x_label` names what the labels are, `y_label` what the values are. None draws no bar."""
    if not labels:
        return empty_figure(f"no {x_label}")
    left = min(max(text_px(text) for text in (*labels, x_label)), LONGEST_LABEL_PX) + 14
    known = [value for value in values if value is not None]
    texts = [value_format(value) for value in known] or [""]
    room = max(map(text_px, texts)) + 10
    across = Scale((min(0.0, *known, 0.0), max(0.0, *known, 0.0) or 1.0), (left + (room if min(known, default=0) < 0 else 0), WIDTH - room))
    parts = [label(0, 16, x_label, fill=INK), label(across(0.0), 16, y_label, fill=INK)]
    for index, (name, value) in enumerate(zip(labels, values, strict=True)):
        top = 30 + index * (BAR_PX + BAR_GAP_PX)
        parts.append(label(left - 10, top + 12, _shortened(name), text_anchor="end"))
        parts += _bar(across, top, value, value_format)
    height = 34 + len(labels) * (BAR_PX + BAR_GAP_PX)
    parts.append(line(across(0.0), 26, across(0.0), height - 6, stroke=FAINT))
    return drawing(WIDTH, height, parts, f"{y_label} by {x_label}")


def line_figure(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    x_format: Format = short,
    y_format: Format = short,
) -> str:
    """One line a series over shared axes, with a legend; points are marked where they are few."""
    points = [point for line_points in series.values() for point in line_points]
    if not points:
        return empty_figure(f"no {y_label}")
    y_axis = Axis(scale([y for _, y in points], (HEIGHT - MARGIN_BOTTOM, MARGIN_TOP + 22)), y_label, y_format)
    x_axis = Axis(scale([x for x, _ in points], (_left(y_axis), WIDTH - MARGIN_RIGHT), log=log_x, room=0.02), x_label, x_format)
    parts = [*frame(x_axis, y_axis), *legend(list(series), _left(y_axis), 18)]
    for index, line_points in enumerate(series.values()):
        parts += _polyline(line_points, x_axis.scale, y_axis.scale, SERIES[index % len(SERIES)])
    return drawing(WIDTH, HEIGHT, parts, f"{y_label} over {x_label}: {', '.join(series)}")


def histogram_figure(edges: Sequence[float], counts: Sequence[float], *, x_label: str, y_label: str = "samples") -> str:
    """Counts between neighbouring edges (one edge more than counts), as touching bars from zero."""
    if len(edges) != len(counts) + 1:
        raise ValueError(f"a histogram of {len(counts)} counts needs {len(counts) + 1} edges, got {len(edges)}")
    if not counts:
        return empty_figure(f"no {x_label}")
    y_axis = Axis(Scale((0.0, max(counts) * 1.06 or 1.0), (HEIGHT - MARGIN_BOTTOM, MARGIN_TOP)), y_label, short)
    x_axis = Axis(Scale(_widened(edges[0], edges[-1]), (_left(y_axis), WIDTH - MARGIN_RIGHT)), x_label, short)
    floor = y_axis.scale(0.0)
    bars = [
        element("rect", x=start, y=floor - tall, width=max(end - start - 0.5, 0.4), height=tall, fill=ACCENT)
        for amount, low, high in zip(counts, edges, edges[1:], strict=False)
        if (tall := floor - y_axis.scale(amount)) > 0
        for start, end in [(x_axis.scale(low), x_axis.scale(high))]
    ]
    return drawing(WIDTH, HEIGHT, [*frame(x_axis, y_axis), *bars], f"{y_label} by {x_label}")


def legend(names: Sequence[str], x: float, y: float, colours: Sequence[str] = SERIES) -> list[str]:
    """Coloured squares with names, in one row."""
    parts = []
    for index, name in enumerate(names):
        parts.append(element("rect", x=x, y=y - 9, width=10.0, height=10.0, rx=2.0, fill=colours[index % len(colours)]))
        parts.append(label(x + 15, y, name))
        x += text_px(name) + 34
    return parts


def empty_figure(why: str) -> str:
    """A drawing that says why there is nothing to draw."""
    return drawing(WIDTH, 60.0, [label(WIDTH / 2, 34, why, text_anchor="middle")], why)


def _left(y_axis: Axis) -> float:
    return max(text_px(y_axis.format(value)) for value in y_axis.scale.ticks()) + 14


def _bar(across: Scale, top: float, value: float | None, value_format: Format) -> list[str]:
    zero = across(0.0)
    if value is None:
        return [label(zero + 6, top + 12, number(None))]
    end = across(value)
    box = element("rect", x=min(zero, end), y=top, width=max(abs(end - zero), 0.8), height=BAR_PX, rx=2.0, fill=ACCENT)
    below = value < 0
    return [box, label(end - 6 if below else end + 6, top + 12, value_format(value), text_anchor="end" if below else "start", fill=INK)]


def _polyline(points: Sequence[tuple[float, float]], x: Scale, y: Scale, colour: str) -> list[str]:
    at = [(x(across), y(up)) for across, up in points]
    path = " ".join(f"{coordinate(across)},{coordinate(up)}" for across, up in at)
    drawn = [element("polyline", points=path, fill="none", stroke=colour, stroke_width=2, stroke_linejoin="round")]
    if len(at) <= MOST_MARKED_POINTS:
        drawn += [element("circle", cx=across, cy=up, r=3.2, fill=colour, stroke=SHEET, stroke_width=1.5) for across, up in at]
    return drawn


def _shortened(name: str) -> str:
    most = int(LONGEST_LABEL_PX / text_px("m"))
    return name if len(name) <= most else f"…{name[-most + 1 :]}"


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)
