"""The spread over draws of the calibration sample, in words and as a table."""

from slimline.calibration.draws import Draws
from slimline.report.numbers import quantity
from slimline.report.page import Table


def draws_text(draws: Draws | None, unit: str) -> tuple[str, ...]:
    """The spread in a sentence."""
    if draws is None:
        return ()
    low, high, shipped = (quantity(each, unit) for each in (min(draws.figures), max(draws.figures), draws.figures[0]))
    how = "is like the others" if draws.is_typical else "is not like the others: calibrate on more samples"
    seen = f"Over {len(draws.figures)} draws of the calibration sample {draws.metric} is {low} to {high}"
    return (f"{seen}; the shipped one, {shipped}, {how}.",)


def draws_tables(draws: Draws | None, unit: str) -> tuple[Table, ...]:
    """Each draw's figure."""
    if draws is None:
        return ()
    others = (f"{number}, from train and calibration" for number in range(2, len(draws.figures) + 1))
    names = ("1, the calibration split's: shipped", *others)
    rows = tuple((name, quantity(figure, unit)) for name, figure in zip(names, draws.figures, strict=True))
    spread = f"standard deviation {quantity(draws.deviation, unit)}"
    note = f"On {draws.judged_on} validation samples, {spread}. It tells what other ranges would have cost; none is chosen by it."
    return (Table("Draws of the calibration sample", ("draw", draws.metric), rows, note),)
