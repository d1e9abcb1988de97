"""Numbers as the gate's sentences say them."""

from collections.abc import Callable, Sequence

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"


def points(share: float) -> str:
    """A difference of shares in percentage points: 0.0123 -> 1.23 pp."""
    return f"{100 * share:.2f} pp".replace("-", MINUS)


def times(ratio: float) -> str:
    """A ratio with its sign: 4.03 and the sign of multiplication."""
    return f"{ratio:.2f}{TIMES}" if ratio < 9.995 else f"{ratio:.1f}{TIMES}"


def interval(limits: Sequence[float], written: Callable[[float], str]) -> str:
    """An interval in the words of its unit: 0.10 pp to 0.90 pp."""
    return f"{written(limits[0])} to {written(limits[1])}"
