"""What `dvc exp show`, `dvc metrics` and `dvc plots` read of a run: few figures, chosen; reports/summary.json has all."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from slimline.report.summary import count_verdicts, preferred

FIGURES, VARIANTS = "figures.json", "variants.csv"
DIGITS = 5


def figures(summary: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """How many were judged and accepted, the teacher's quality, and of the best accepted variant what `latest` will point at: the name,
    quality, and how many times smaller and faster at batch 1; null where none was accepted."""
    rows, best = summary["variants"], preferred(summary["variants"])
    teacher = next((row for row in rows if row["variant"] == "teacher" and row["quality"]), None)
    return {
        "judged": len(rows),
        "accepted": count_verdicts(summary).get("accept", 0),
        "teacher": _quality(teacher, metric),
        "best": f"{best['variant']}-{best['target']}" if best else None,
        metric: _quality(best, metric),
        "smaller": _rounded(best["size_ratio"]) if best else None,
        "faster": _speed(best),
    }


def variants(summary: Mapping[str, Any], metric: str) -> str:
    """Every variant that was made, as CSV: variant-target, verdict, quality, times smaller, times faster at batch 1."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("variant", "verdict", "quality", "smaller", "faster"))
    for row in (row for row in summary["variants"] if row["quality"]):
        values = (_quality(row, metric), _rounded(row["size_ratio"]), _speed(row))
        table.writerow((f"{row['variant']}-{row['target']}", row["verdict"], *values))
    return text.getvalue()


def _quality(row: Mapping[str, Any] | None, metric: str) -> float | None:
    return _rounded(row["quality"][metric]["value"]) if row else None


def _speed(row: Mapping[str, Any] | None) -> float | None:
    ratio = ((row or {}).get("speed_ratio") or {}).get("batch_1")
    return _rounded(ratio["value"]) if ratio else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")
