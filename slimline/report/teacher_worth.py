"""What a teacher was worth, on validation, in a sentence; and over shares of the training samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slimline.report.controls import Control
from slimline.report.figures import line_figure
from slimline.report.numbers import count, quantity
from slimline.report.page import Figure, Table

WHERE = "validation, on which epochs were chosen"
NOTE = "Both are the same student from the same start and see the same samples; the teacher itself has learned from all of them."

NO_LABELS = "No control on labels alone was trained: the targets are the teacher's own answers, and there are no labels to learn from."


@dataclass(frozen=True)
class Share:
    """A share of the training samples, how many they are, and what the teacher was worth there at equal steps."""

    share: float
    samples: int
    control: Control


def worth_sentences(found: Sequence[Control], ran: int, epochs: int) -> tuple[str, ...]:
    """What was found, and that the student stopped where it `ran` for fewer than its epochs; none where nothing was compared."""
    if not found:
        return ()
    said = "; ".join(f"at equal {one.equal} {_plain(one)} (interval {one.span})" for one in found)
    stopped = (f"The student had enough after {ran} of {epochs} epochs, by its patience; without the teacher all steps were taken.",)
    return (f"Beside the same student on labels alone, on {WHERE}: {said}.", *(stopped if ran < epochs else ()))


def worth_tables(found: Sequence[Control], steps: Sequence[int]) -> tuple[Table, ...]:
    """Each control in a row; none where nothing was compared."""
    if not found:
        return ()
    rows = tuple(
        (f"equal {one.equal}", taken, one.student_figure, one.control_figure, one.difference, one.span, f"{one.p_value:.3g}")
        for one, taken in zip(found, steps, strict=True)
    )
    columns = ("control", "its steps", "with the teacher", "on labels alone", "worth", "interval", "p")
    return (Table("What the teacher was worth, on validation", columns, rows),)


def share_sentences(shares: Sequence[Share]) -> tuple[str, ...]:
    """With how few samples the teacher was shown to be worth something."""
    if not shares:
        return ()
    worth = [one for one in shares if one.control.ci[0] > 0]
    if not worth:
        tried = ", ".join(count(one.samples, "sample") for one in shares)
        return (f"With {tried}: the teacher was not shown to be worth anything at equal steps.",)
    most = max(worth, key=lambda one: one.control.gain)
    shown = ", ".join(f"{one.samples:,}" for one in worth)
    return (f"The teacher was shown to be worth something with {shown} samples, most with {most.samples:,}: {most.control.difference}.",)


def share_tables(shares: Sequence[Share]) -> tuple[Table, ...]:
    """Each share in a row; none where none was asked for."""
    if not shares:
        return ()
    rows = tuple((f"{one.share:.0%}", one.samples, *_figures(one.control)) for one in shares)
    columns = ("share", "samples", "with the teacher", "on labels alone", "worth", "interval")
    return (Table("What the teacher was worth, by the number of samples", columns, rows, NOTE),)


def share_figures(shares: Sequence[Share]) -> tuple[Figure, ...]:
    """Both over the number of samples; none where no share was asked for."""
    if not shares:
        return ()
    series = {
        "with the teacher": [(float(one.samples), one.control.student_value) for one in shares],
        "labels alone": [(float(one.samples), one.control.control_value) for one in shares],
    }
    unit = shares[0].control.unit
    y_label = "share of right answers on validation" if unit == "fraction" else "mean error on validation"
    drawn = line_figure(series, x_label="training samples", y_label=y_label, log_x=True)
    return (Figure("With and without the teacher, by the number of samples", drawn, NOTE),)


def plain_facts(found: Sequence[Control], steps: Sequence[int]) -> list[dict[str, Any]]:
    """For the metrics file."""
    return [_facts(one) | {"equal": one.equal, "steps": taken} for one, taken in zip(found, steps, strict=True)]


def share_facts(shares: Sequence[Share]) -> list[dict[str, Any]]:
    """For the metrics file."""
    return [_facts(one.control) | {"share": one.share, "samples": one.samples} for one in shares]


def _facts(one: Control) -> dict[str, Any]:
    return {
        "student": one.student_value,
        "alone": one.control_value,
        "worth": one.gain,
        "ci": list(one.ci),
        "p_value": one.p_value,
        "unit": one.unit,
    }


def _figures(one: Control) -> tuple[str, ...]:
    return quantity(one.student_value, one.unit), quantity(one.control_value, one.unit), one.difference, one.span


def _plain(one: Control) -> str:
    """What the row says, without what is equal."""
    return one.finding.removeprefix(f"at equal {one.equal}: ")
