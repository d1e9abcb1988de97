"""Numbers as the gate's sentences say them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
TESTS = {"mcnemar": "McNemar", "bootstrap": "bootstrap"}


def points(share: float) -> str:
    """A difference of shares in percentage points: 0.0123 -> 1.23 pp."""
    return f"{100 * share:.2f} pp".replace("-", MINUS)


def moved(drop: Mapping[str, Any]) -> str:
    """What became of the metric, with the interval of its drop and the test: accuracy drops by 0.10 pp (…), or rises."""
    value = drop["value"]
    seen = f"drops by {points(value)} (" if value >= 0 else f"rises by {points(-value)} (a drop of "
    return f"{drop['metric']} {seen}{interval(drop['ci'], points)}, {TESTS[drop['test']]} p = {drop['p_value']:.2g})"


def times(ratio: float) -> str:
    """A ratio with its sign: 4.03 and the sign of multiplication."""
    return f"{ratio:.2f}{TIMES}" if ratio < 9.995 else f"{ratio:.1f}{TIMES}"


def interval(limits: Sequence[float], written: Callable[[float], str]) -> str:
    """An interval in the words of its unit: 0.10 pp to 0.90 pp."""
    return f"{written(limits[0])} to {written(limits[1])}"
