"""Numbers as people read them: one way for the pages, the Markdown and the console."""

import math
import re
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

ABSENT = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
SAME = "same"
BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")
NOTHING = 1e-6
"""A difference below it is rounding."""
HIGHER, LOWER = "higher", "lower"
_NUMBER_TEXT = re.compile(rf"[+{MINUS}-]?[0-9][0-9,.]* ?(%|pp|[kMGT]?B|ms|mJ|{TIMES})?( \[.*\])?")


def number(value: Any) -> str:
    """A plain number: thousands grouped, small fractions to four decimals, None as a dash."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    return _decimal(float(value)) if isinstance(value, Real) else str(value)


def short(value: float) -> str:
    """A round value as an axis shows it: no idle zeros."""
    return f"{value:,.6g}"


def _decimal(value: float) -> str:
    size = abs(value)
    if not math.isfinite(value) or 0 < size < 0.001:
        return f"{value:.2e}" if math.isfinite(value) else str(value)
    digits = 4 if size < 1 else 2 if size < 10 else 1 if size < 1000 else 0
    return f"{value:,.{digits}f}"


def size(size_bytes: float | None) -> str:
    """Bytes in decimal units: 5,989,122 -> 5.99 MB."""
    if size_bytes is None:
        return ABSENT
    step = 0
    scaled = float(size_bytes)
    while abs(scaled) >= 999.5 and step < len(BYTE_UNITS) - 1:
        scaled, step = scaled / 1000, step + 1
    digits = 0 if step == 0 or abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
    return f"{scaled:.{digits}f} {BYTE_UNITS[step]}"


def percent(share: float | None, digits: int = 2) -> str:
    """A share of one as a percentage."""
    return ABSENT if share is None else f"{100 * share:.{digits}f} %"


def points(difference: float | None, digits: int = 2, *, signed: bool = True) -> str:
    """A difference of two shares in percentage points, with its sign."""
    if difference is None:
        return ABSENT
    text = f"{100 * difference:{'+' if signed else ''}.{digits}f}"
    return f"{text.replace('-', MINUS)} pp" if float(text) else f"{0:.{digits}f} pp"


def loss(drop: float | None, unit: str = "fraction") -> str:
    """By how much a metric is worse, in its unit, of shares in percentage points; only a gain, which is a negative drop, has a sign."""
    if unit == "fraction" or drop is None:
        return points(drop, signed=False)
    shown = quantity(abs(drop) if abs(drop) >= NOTHING else 0, unit)
    return shown if drop > -NOTHING else f"{MINUS}{shown}"


def gain(difference: float | None, unit: str = "fraction") -> str:
    """A difference with its sign, in the metric's unit."""
    if unit == "fraction" or difference is None:
        return points(difference)
    if abs(difference) < NOTHING:
        return quantity(0, unit)
    return f"{'+' if difference > 0 else MINUS}{quantity(abs(difference), unit)}"


def ratio(value: float | None) -> str:
    """A ratio with the sign for times."""
    if value is None:
        return ABSENT
    return f"{value:.2f}{TIMES}" if abs(value) < 9.995 else f"{value:.1f}{TIMES}" if abs(value) < 99.95 else f"{value:,.0f}{TIMES}"


def milliseconds(value: float | None) -> str:
    """A time of three significant digits."""
    if value is None:
        return ABSENT
    return f"{value:.3f} ms" if value < 1 else f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"


def count(amount: int, one: str, many: str | None = None) -> str:
    """An amount with its noun: 1 sample, 3 samples, no samples."""
    return f"{amount:,} {one}" if amount == 1 else f"{amount:,} {many or one + 's'}" if amount else f"no {many or one + 's'}"


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def quantity(value: float | None, unit: str) -> str:
    """A number with its unit; `bytes`, `fraction` and `ms` are written in their own way."""
    if value is None:
        return ABSENT
    if unit == "bytes":
        return size(value)
    if unit == "fraction":
        return percent(value)
    if unit == "ms":
        return milliseconds(value)
    return f"{number(value)} {unit}".rstrip()


def change(baseline: float | None, variant: float | None, unit: str = "") -> str:
    """The signed difference variant - baseline, in the unit."""
    if baseline is None or variant is None:
        return ABSENT
    difference = variant - baseline
    if difference == 0:
        return SAME
    if unit == "fraction":
        return points(difference)
    return f"{'+' if difference > 0 else MINUS}{quantity(abs(difference), unit)}"


def times(baseline: float | None, variant: float | None, better: str | None, unit: str = "") -> str:
    """How many times better: baseline/variant where lower is better, variant/baseline where higher is; a dash for shares."""
    if better is None or unit == "fraction" or baseline is None or variant is None:
        return ABSENT
    above, below = (baseline, variant) if better == LOWER else (variant, baseline)
    return ratio(above / below) if above and below else ABSENT


def judged(baseline: float | None, variant: float | None, better: str | None) -> str:
    """In one word what the change is: better, worse or same; empty where neither way is good."""
    if better is None or baseline is None or variant is None:
        return ""
    if variant == baseline:
        return SAME
    return "better" if (variant > baseline) == (better == HIGHER) else "worse"


def is_number(value: Any) -> bool:
    """Whether a cell is shown as a number, aligned right: a number, or the text of one with its unit."""
    return bool(_NUMBER_TEXT.fullmatch(value)) if type(value) is str else isinstance(value, Real) and not isinstance(value, bool)
