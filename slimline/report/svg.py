"""The parts that figures are made of: escaped elements, scales with round ticks, and a frame with axes.

Colours are CSS variables of the page with a fallback, so that one drawing is right in light and dark. Same input, same bytes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

INK, SOFT, FAINT, LINE, SHEET, ACCENT = (
    f"var(--{name},{fallback})"
    for name, fallback in (
        ("ink", "currentColor"),
        ("soft", "currentColor"),
        ("faint", "#8a8f98"),
        ("line", "#8a8f9855"),
        ("sheet", "transparent"),
        ("accent", "#3b78b5"),
    )
)
SERIES = ("var(--s1,#3b78b5)", "var(--s2,#c4722b)", "var(--s3,#4d9153)", "var(--s4,#9161b0)", "var(--s5,#b5496c)", "var(--s6,#5f8a94)")
FONT_PX = 12
CHARACTER_PX = 6.4
ROUND_STEPS, WHOLE_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0), (1.0, 2.0, 5.0, 10.0)
Format = Callable[[float], str]


def coordinate(value: float) -> str:
    """A length in tenths of a pixel, without idle zeros."""
    text = f"{value:.1f}"
    return text.removesuffix(".0").replace("-0", "0") if text in ("-0.0", "0.0") else text.removesuffix(".0")


def element(name: str, content: str = "", **attributes: object) -> str:
    """One SVG element; attribute values are escaped, `content` is SVG already."""
    pairs = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(coordinate(value) if isinstance(value, float) else str(value))}"
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{pairs}>{content}</{name}>" if content else f"<{name}{pairs}/>"


def label(x: float, y: float, text: str, **attributes: object) -> str:
    """A line of text, escaped; anchored at its start unless told."""
    given: dict[str, Any] = {"font_size": FONT_PX, "fill": SOFT} | attributes
    return element("text", escape(text), x=float(x), y=float(y), **given)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> str:
    """A straight line."""
    given: dict[str, Any] = {"stroke": LINE} | attributes
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), **given)


def drawing(width: float, height: float, parts: Sequence[str], title: str) -> str:
    """The whole SVG in its natural size, which a page may scale; `title` is what a screen reader says."""
    inside = element("title", escape(title)) + "".join(parts)
    wide, tall = coordinate(width), coordinate(height)
    return element("svg", inside, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {wide} {tall}", width=wide, height=tall, role="img")


def text_px(text: str, font_px: float = FONT_PX) -> float:
    """About how wide a text is drawn."""
    return len(text) * CHARACTER_PX * font_px / FONT_PX


@dataclass(frozen=True)
class Scale:
    """Values in `domain` drawn between the two pixels of `span`, linear or logarithmic; `whole` ones have whole ticks."""

    domain: tuple[float, float]
    span: tuple[float, float]
    log: bool = False
    whole: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; outside the domain it is cut to the edge."""
        low, high = map(self._inner, self.domain)
        inner = min(max(self._inner(max(value, self.domain[0])), low), high)
        start, end = self.span
        return start + (end - start) * (inner - low) / (high - low)

    def ticks(self, about: int = 5) -> tuple[float, ...]:
        """Round values inside the domain."""
        return _log_ticks(*self.domain) if self.log else _linear_ticks(self.domain, about, whole=self.whole)

    def _inner(self, value: float) -> float:
        return math.log10(value) if self.log else value


def scale(values: Sequence[float], span: tuple[float, float], *, log: bool = False, room: float = 0.06) -> Scale:
    """A scale that holds all finite values, with some room at both ends; `log` is kept only where all are above 0."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if log and low > 0:
        spread = max(math.log10(high / low), 0.1) * room
        return Scale((low / 10**spread, high * 10**spread), span, log=True)
    spread = (high - low or abs(high) or 1.0) * room
    whole = all(float(value).is_integer() for value in finite) and high - low >= 1
    return Scale((low - spread if low != 0 else 0.0, high + spread), span, whole=whole)


def _linear_ticks(domain: tuple[float, float], about: int, *, whole: bool) -> tuple[float, ...]:
    low, high = domain
    raw = max((high - low) / about, 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(candidate * power for candidate in (WHOLE_STEPS if whole else ROUND_STEPS) if candidate * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return tuple(round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    marks = (1, 2, 5) if math.log10(high / low) < 3 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return tuple(mark * 10.0**power for power in powers for mark in marks if low <= mark * 10.0**power <= high)


@dataclass(frozen=True)
class Axis:
    """One axis of a frame: its scale, its name and how its ticks are written."""

    scale: Scale
    name: str
    format: Format


def frame(x: Axis, y: Axis) -> list[str]:
    """Grid lines, ticks and the names of both axes; the plot fills the spans of the two scales."""
    left, right = x.scale.span
    bottom, top = y.scale.span
    parts = []
    for value in y.scale.ticks():
        at = y.scale(value)
        parts += [line(left, at, right, at), label(left - 8, at + 4, y.format(value), text_anchor="end")]
    free_from = -math.inf
    for value in x.scale.ticks():
        at, half = x.scale(value), text_px(x.format(value)) / 2
        parts.append(line(at, bottom, at, bottom + 5, stroke=FAINT))
        if at - half > free_from:
            parts.append(label(at, bottom + 20, x.format(value), text_anchor="middle"))
            free_from = at + half + 6
    parts.append(line(left, bottom, right, bottom, stroke=FAINT))
    parts.append(label((left + right) / 2, bottom + 40, x.name, text_anchor="middle", fill=INK))
    parts.append(label(0, top - 14, y.name, fill=INK))
    return parts
