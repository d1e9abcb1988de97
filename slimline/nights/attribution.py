"""Where the change of a figure between two runs comes from, by runs with one side held fixed.

Two codes and two sets of parameters make four runs, a full 2² factorial design (Box, Hunter & Hunter, Statistics for Experimenters, 2005,
chapter 5), all made on one machine with one set of libraries: what still differs between them is code and parameters. A change that does
not come back there comes from what could not be held fixed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slimline.nights.night import Figure, Night, Row
from slimline.nights.trend import CLOCKS, UNEXPLAINED, beyond_noise, changes, verdicts

VERDICT = "verdict"
CODE, PARAMETERS, BOTH, TOGETHER = "code", "parameters", "code and parameters, each by itself", "code and parameters, only together"
OUTSIDE, UNDECIDED = "not code, not parameters", "undecided"
NOT_ANEW = (
    "nothing but speed and memory moved with this verdict, and a run made again has them from the cache: speed was not measured anew; "
    "`slimline run --force` of both, one after the other on one machine, tells"
)
Value = Figure | str
Clocks = Mapping[str, Figure]


@dataclass(frozen=True)
class Cell:
    """A run to make: whose code and whose parameters it has, `A` or `B`."""

    code: str
    parameters: str

    @property
    def name(self) -> str:
        """For people."""
        return f"code of {self.code}, parameters of {self.parameters}"


BOTH_A, BOTH_B, ONLY_CODE, ONLY_PARAMETERS = Cell("A", "A"), Cell("B", "B"), Cell("B", "A"), Cell("A", "B")


@dataclass(frozen=True)
class Moved:
    """A figure, or the verdict, of a variant on a target that is another in run B than in run A.

    `clocks` are what clocks and memory counters said in A and in B, of a verdict that nothing but these explains.
    """

    pair: tuple[str, str]
    name: str
    before: Value
    after: Value
    clocks: tuple[Clocks, Clocks] | None = None


@dataclass(frozen=True)
class Finding:
    """A change, what it came to in each run that was made, and its cause; `why` says how that is known."""

    moved: Moved
    values: Mapping[Cell, Value | None]
    cause: str
    why: str


def moves(before: Night, after: Night) -> Iterator[Moved]:
    """What changed beyond the noise: figures, and verdicts.

    Not what a clock or a memory counter says: a run made again restores its timing from the cache, and would confirm the noise of that day.
    A verdict that moved with these alone is told with them.
    """
    pair = [one.model_copy(update={"params_file": after.params_file}) for one in (before, after)]
    figures = [Moved(one.pair, one.figure, one.before, one.after) for one in changes(pair) if not one.figure.startswith(CLOCKS)]
    explained = {one.pair for one in figures}
    yield from figures
    for one in verdicts(pair):
        clocks = (_clocks(before, one.pair), _clocks(after, one.pair))
        alone = one.pair not in explained and clocks[0] != clocks[1]
        yield Moved(one.pair, VERDICT, one.before, one.after, clocks if alone else None)


def cells(*, code_differs: bool, parameters_differ: bool) -> tuple[Cell, ...]:
    """The runs that decide; none where neither differs."""
    if code_differs and parameters_differ:
        return BOTH_A, BOTH_B, ONLY_CODE, ONLY_PARAMETERS
    return (BOTH_A, BOTH_B) if code_differs or parameters_differ else ()


def finding(moved: Moved, made: Mapping[Cell, Night | str], outside: Sequence[str], differing: Sequence[str]) -> Finding:
    """The cause of one change, from the runs that were made (or why one was not); `differing` are those of code and parameters that do."""
    values = {cell: _value(night, moved) for cell, night in made.items()}
    if not differing:
        return Finding(moved, values, OUTSIDE, "; ".join(outside) or UNEXPLAINED)
    lacking = [cell.name for cell, value in values.items() if value is None]
    if lacking:
        return Finding(moved, values, UNDECIDED, f"no such figure with {'; '.join(lacking)}")
    if _is_restored(moved, made):
        return Finding(moved, values, UNDECIDED, NOT_ANEW)
    if not _same_way(moved, values[BOTH_A], values[BOTH_B]):
        rest = "; ".join(outside) or UNEXPLAINED
        return Finding(moved, values, OUTSIDE, f"both runs made again here do not differ so; {rest}")
    if len(differing) == 1:
        return Finding(moved, values, differing[0], f"it comes back here, where {differing[0]} alone is another")
    return Finding(moved, values, *_of_two(moved, values))


def parameter_differences(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """`quantize.int8.observer: minmax to entropy` for each value of params.yaml that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            yield from parameter_differences(before.get(key), after.get(key), f"{place}.{key}" if place else str(key))
    elif before != after:
        yield f"{place}: {_short(before)} to {_short(after)}"


def _of_two(moved: Moved, values: Mapping[Cell, Value | None]) -> tuple[str, str]:
    by_code = _same_way(moved, values[BOTH_A], values[ONLY_CODE])
    by_parameters = _same_way(moved, values[BOTH_A], values[ONLY_PARAMETERS])
    told = f"B's code alone gives {shown(values[ONLY_CODE])}, B's parameters alone give {shown(values[ONLY_PARAMETERS])}"
    causes = {(True, False): CODE, (False, True): PARAMETERS, (True, True): BOTH, (False, False): TOGETHER}
    return causes[by_code, by_parameters], f"from A's {shown(values[BOTH_A])}, {told}, both give {shown(values[BOTH_B])}"


def _same_way(moved: Moved, before: Value | None, after: Value | None) -> bool:
    """Whether these two differ beyond the noise, and in the direction of the change; of verdicts, whether they are those of the change."""
    if isinstance(before, Figure) and isinstance(after, Figure) and isinstance(moved.before, Figure) and isinstance(moved.after, Figure):
        same = (after.value > before.value) == (moved.after.value > moved.before.value)
        return same and beyond_noise(moved.name, before, after)
    return (before, after) == (moved.before, moved.after)


def _is_restored(moved: Moved, made: Mapping[Cell, Night | str]) -> bool:
    """Whether a verdict that clocks alone explain stands, in a run made again, on the very figures of that day."""
    days = zip((BOTH_A, BOTH_B), moved.clocks or (), strict=False)
    return any(_clocks(night, moved.pair) == clocks for cell, clocks in days if isinstance(night := made[cell], Night))


def _value(night: Night | str, moved: Moved) -> Value | None:
    row = None if isinstance(night, str) else _row(night, moved.pair)
    if row is None:
        return None
    return row.verdict if moved.name == VERDICT else row.figures.get(moved.name)


def _clocks(night: Night, pair: tuple[str, str]) -> Clocks:
    row = _row(night, pair)
    return {name: figure for name, figure in row.figures.items() if name.startswith(CLOCKS)} if row else {}


def _row(night: Night, pair: tuple[str, str]) -> Row | None:
    return next((row for row in night.rows if row.pair == pair), None)


def shown(value: Value | None) -> str:
    """A value in a table."""
    return "" if value is None else f"{value.value:.5g}" if isinstance(value, Figure) else value


def _short(value: Any) -> str:
    text = "not there" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
