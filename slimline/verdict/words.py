"""Numbers as the gate's sentences say them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
FRACTION = "fraction"
NOTHING = 1e-6
"""A difference below it is rounding."""
TESTS = {"mcnemar": "McNemar", "bootstrap": "bootstrap"}


def amount(value: float, unit: str) -> str:
    """A difference of a metric in its unit; of shares in percentage points: 0.0123 -> 1.23 pp."""
    if unit == FRACTION:
        return f"{100 * value:.2f} pp".replace("-", MINUS)
    return f"{value if abs(value) >= NOTHING else 0:.4g} {unit}".rstrip().replace("-", MINUS)


def percentage(share: float) -> str:
    """A share of the baseline's own figure: 0.0123 -> 1.23 %."""
    return f"{100 * share:.2f} %".replace("-", MINUS)


def moved(drop: Mapping[str, Any]) -> str:
    """What became of the metric, with the interval of its drop and the test: accuracy drops by 0.10 pp (…), or rises.

    A metric of which less is better gets worse by rising.
    """
    value, written = drop["value"], partial(amount, unit=drop["unit"])
    worse, better = ("drops", "rises") if drop["better"] == "higher" else ("rises", "falls")
    seen = f"{worse} by {written(value)} (" if value >= 0 else f"{better} by {written(-value)} (worse by "
    return f"{drop['metric']} {seen}{interval(drop['ci'], written)}, {TESTS[drop['test']]} p = {drop['p_value']:.2g})"


def times(ratio: float) -> str:
    """A ratio with its sign: 4.03 and the sign of multiplication."""
    return f"{ratio:.2f}{TIMES}" if ratio < 9.995 else f"{ratio:.1f}{TIMES}"


def interval(limits: Sequence[float], written: Callable[[float], str]) -> str:
    """An interval in the words of its unit: 0.10 pp to 0.90 pp."""
    return f"{written(limits[0])} to {written(limits[1])}"
