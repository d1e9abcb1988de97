"""The page of nights: the trend of each variant's figures, what changed beyond the noise and what differed, Markdown and HTML."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeVar

from slimline.nights.night import Figure as Estimate
from slimline.nights.night import Night
from slimline.nights.trend import Change, Verdict, changes, short, verdicts
from slimline.report.numbers import number
from slimline.report.page import Figure, StagePage, Table
from slimline.report.trends import trend_figure

T = TypeVar("T")
SHOWN_CHANGES = 50
FEW_VARIANTS = 6
"""Lines of one drawing, whose names fit above it."""


def nights_page(nights: Sequence[Night]) -> StagePage:
    """Of nights in order of time, at least one."""
    moved, judged = list(changes(nights)), list(verdicts(nights))
    worse = sum(one.worse is True for one in moved)
    return StagePage(
        stage="history",
        variant="nights",
        title=f"{len(nights)} run{'s' * (len(nights) > 1)} of {nights[-1].workload}",
        summary=(
            f"From {nights[0].at[:16]} to {nights[-1].at[:16]} UTC.",
            f"{len(moved)} figures changed beyond the noise, {worse} of them for the worse; {len(judged)} verdicts changed.",
        ),
        comparison=(),
        tables=(_runs(nights), *_changed(moved, judged)),
        figures=tuple(_figures(nights)),
        notes=(
            "A figure changed beyond the noise where two runs' values lie further apart than the root of the sum of their squared "
            "half-intervals; bytes, where they differ by 0.1 % and more; memory by 5 %. A run is held against the one before it, and "
            "against the one at which the figure last changed, so that a slow drift is found. What differed between the two runs is what "
            "can have caused it; where several things did, run again with one of them held.",
        ),
    )


def _runs(nights: Sequence[Night]) -> Table:
    rows = tuple(
        (
            night.identity,
            short(night.fingerprints["code"]),
            sum(row.verdict == "accept" for row in night.rows),
            len(night.rows),
            round(night.seconds),
        )
        for night in reversed(nights)
    )
    return Table("Runs, the newest first", ("run", "code", "accepted", "judged", "seconds"), rows)


def _changed(moved: Sequence[Change], judged: Sequence[Verdict]) -> Iterator[Table]:
    if moved:
        columns = ("run", "variant on target", "figure", "before", "after", "for the", "what differed")
        rows = tuple(
            (
                one.later,
                "-".join(one.pair),
                one.figure,
                _shown(one.before),
                _shown(one.after),
                one.way if one.worse is not None else "",
                f"{_differed(one.causes)}{one.since}",
            )
            for one in _newest(moved)
        )
        yield Table("Changed beyond the noise, the newest first", columns, rows)
    if judged:
        told = tuple((one.later, "-".join(one.pair), one.before, one.after, _differed(one.causes)) for one in _newest(judged))
        yield Table("Verdicts that changed", ("run", "variant on target", "before", "after", "what differed"), told)


def _newest(found: Sequence[T]) -> Sequence[T]:
    return found[::-1][:SHOWN_CHANGES]


def _differed(causes: Sequence[str]) -> str:
    return "; ".join(causes) or "nothing known"


def _shown(figure: Estimate) -> str:
    text = number(figure.value)
    return text if figure.ci is None else f"{text} [{number(figure.ci[0])}, {number(figure.ci[1])}]"


def _figures(nights: Sequence[Night]) -> Iterator[Figure]:
    """The trend of each figure on each target, so many variants a drawing."""
    names = list(dict.fromkeys(name for night in nights for row in night.rows for name in row.figures))
    pairs = list(dict.fromkeys(row.pair for night in nights for row in night.rows))
    for name, target in itertools.product(names, dict.fromkeys(target for _, target in pairs)):
        found = {pair[0]: points for pair in pairs if pair[1] == target and (points := _series(nights, pair, name))}
        for start in range(0, len(found), FEW_VARIANTS):
            few = dict(list(found.items())[start : start + FEW_VARIANTS])
            yield Figure(f"{name} on {target}", trend_figure(few, y_label=name))


def _series(nights: Sequence[Night], pair: tuple[str, str], name: str) -> list[tuple[int, Estimate]]:
    return [
        (place, row.figures[name])
        for place, night in enumerate(nights, 1)
        for row in night.rows
        if row.pair == pair and name in row.figures
    ]
