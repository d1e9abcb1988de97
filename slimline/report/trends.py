"""The trend of estimates over runs: one line a series, and at each point its interval."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from slimline.nights.night import Figure as Estimate
from slimline.report.figures import HEIGHT, MARGIN_BOTTOM, MARGIN_RIGHT, MARGIN_TOP, WIDTH, empty_figure, legend
from slimline.report.numbers import short
from slimline.report.svg import SERIES, SHEET, Axis, drawing, element, frame, line, scale

LEFT, RIGHT, TOP, BOTTOM = 70.0, WIDTH - MARGIN_RIGHT, MARGIN_TOP + 22, HEIGHT - MARGIN_BOTTOM
BESIDE_PX = 4.0
"""How far the points of two series at one run stand apart, so that equal ones are both seen."""


def trend_figure(series: Mapping[str, Sequence[tuple[int, Estimate]]], *, y_label: str) -> str:
    """Series of (number of the run, estimate) over the runs; an estimate without an interval is a point alone."""
    estimates = [estimate for points in series.values() for _, estimate in points]
    if not estimates:
        return empty_figure(f"no {y_label}")
    y = Axis(scale([value for one in estimates for value in (one.value, *(one.ci or ()))], (BOTTOM, TOP)), y_label, short)
    x = Axis(scale([number for points in series.values() for number, _ in points], (LEFT + 20, RIGHT - 20), room=0.02), "run", short)
    parts = [*legend(list(series), LEFT, 18), *frame(x, y)]
    for index, points in enumerate(series.values()):
        aside = BESIDE_PX * (index - (len(series) - 1) / 2)
        parts += _trend([(x.scale(number) + aside, estimate) for number, estimate in points], y, SERIES[index % len(SERIES)])
    return drawing(WIDTH, HEIGHT, parts, f"{y_label} over runs: {', '.join(series)}")


def _trend(points: Sequence[tuple[float, Estimate]], y: Axis, colour: str) -> list[str]:
    at = [(across, y.scale(estimate.value)) for across, estimate in points]
    lines = [line(*one, *other, stroke=colour, stroke_width=2) for one, other in pairwise(at)]
    bars = [
        line(across, y.scale(estimate.ci[0]), across, y.scale(estimate.ci[1]), stroke=colour, stroke_width=1.2)
        for across, estimate in points
        if estimate.ci is not None
    ]
    return [*lines, *bars, *(element("circle", cx=across, cy=up, r=3.2, fill=colour, stroke=SHEET, stroke_width=1.5) for across, up in at)]
