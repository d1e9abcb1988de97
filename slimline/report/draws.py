"""The spread over draws of the calibration sample, in words and as a table, from what the stage `quantize` writes of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimline.artifact.json_file import read_json
from slimline.report.numbers import quantity
from slimline.report.page import Table

Facts = Mapping[str, Any]


def draws_text(draws: Facts | None, unit: str) -> tuple[str, ...]:
    """The spread in a sentence."""
    if draws is None:
        return ()
    low, high, shipped = (quantity(each, unit) for each in (draws["min"], draws["max"], draws["figures"][0]))
    how = "is like the others" if draws["typical"] else "is not like the others: calibrate on more samples"
    seen = f"Over {len(draws['figures'])} draws of the calibration sample validation {draws['metric']} is"
    return (f"{seen} {low} each time.",) if low == high else (f"{seen} {low} to {high}; the shipped one, {shipped}, {how}.",)


def draws_tables(draws: Facts | None, unit: str) -> tuple[Table, ...]:
    """Each draw's figure."""
    if draws is None:
        return ()
    others = (f"{number}, from train and calibration" for number in range(2, len(draws["figures"]) + 1))
    names = ("1, the calibration split's: shipped", *others)
    rows = tuple((name, quantity(figure, unit), move) for name, figure, move in zip(names, draws["figures"], draws["moves"], strict=True))
    spread = f"standard deviation {quantity(draws['sd'], unit)}"
    note = f"On {draws['judged_on']} validation samples, {spread}. It tells what other ranges would have cost; none is chosen by it."
    return (Table("Draws of the calibration sample", ("draw", draws["metric"], "outputs move by"), rows, note),)


def draws_beside(metrics: Path, variant: str, unit: str) -> tuple[str, ...]:
    """The same sentence for a variant's verdict, where it was judged over draws; `metrics` is the folder reports/metrics."""
    path = metrics / "quantize" / f"{variant}.json"
    return draws_text(read_json(path).get("draws"), unit) if path.is_file() else ()
