"""What changed from one night to the next, or slowly over several, beyond the noise, and what differed between the two.

Two estimates differ where the distance of their values exceeds the root of the sum of their squared half-intervals: the 95 % interval of a
difference of independent estimates. Quality of the same bytes on the same samples does not vary by itself, so that this errs on the quiet
side; of a figure without an interval every change beyond EXACT is one, and of memory beyond MEMORY. An interval of a speed is that of one
run's launches, and a machine's speed moves from day to day as well: a clock that moved over the same files is neither worse nor better.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from slimline.nights.night import UNKNOWN, Figure, Night, Row

EXACT = 0.001
MEMORY = 0.05
CLOCKS = ("speed_ratio", "peak_memory_bytes")
"""How the names of figures begin that are measured on the machine: those of the same files change with its load."""
SAME_FILES = "the same files on the same kind of machine with the same libraries: its load, or how it was measured"
DIFFERS = {"code": "code differs", "data": "data differs", "parameters": "parameters differ", "machine": "machine differs"}
CODE_MAY_DIFFER = "code may differ"
UNEXPLAINED = "nothing that is known of the two runs differs: the machine's load, or a training that is not reproducible"


@dataclass(frozen=True)
class Change:
    """A figure of a variant on a target that moved between two nights; `worse` is None where neither way is better.

    `slowly`: in steps over several nights, none of which is beyond the noise by itself.
    """

    pair: tuple[str, str]
    figure: str
    before: Figure
    after: Figure
    earlier: str
    later: str
    worse: bool | None
    causes: tuple[str, ...]
    slowly: bool = False

    @property
    def way(self) -> str:
        """worse, better or moved."""
        return {True: "worse", False: "better", None: "moved"}[self.worse]

    @property
    def since(self) -> str:
        """Since when it moved, where it was not from one night to the next."""
        return f", little by little since {self.earlier}" if self.slowly else ""

    @property
    def sentence(self) -> str:
        """For people."""
        moved = f"{self.figure} {self.before.value:.6g} to {self.after.value:.6g}{self.since}"
        return f"{'-'.join(self.pair)}: {self.way}: {moved}; {'; '.join(self.causes) or UNEXPLAINED}"


@dataclass(frozen=True)
class Verdict:
    """A variant on a target whose verdict changed."""

    pair: tuple[str, str]
    before: str
    after: str
    earlier: str
    later: str
    causes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """For people."""
        return f"{'-'.join(self.pair)}: {self.before} before, {self.after} now; {'; '.join(self.causes) or UNEXPLAINED}"


def changes(nights: Sequence[Night]) -> Iterator[Change]:
    """Of nights in order of time: each beside the last one before it that judged the same variant on the same target, and where that has
    the same figure, beside the night at which the figure last changed."""
    still: dict[tuple[str, tuple[str, str], str], tuple[Night, Row]] = {}
    for earlier, later, before, after in _neighbours(nights):
        for name in after.figures:
            place = (later.params_file, after.pair, name)
            if name not in before.figures:
                still.pop(place, None)
                continue
            since, its = still.setdefault(place, (earlier, before))
            found = _change(name, (earlier, before), (later, after)) or _change(name, (since, its), (later, after), slowly=True)
            if found is not None:
                still[place] = (later, after)
                yield found


def _change(name: str, one: tuple[Night, Row], other: tuple[Night, Row], *, slowly: bool = False) -> Change | None:
    """A figure that differs beyond the noise between two nights that both have it."""
    (earlier, before), (later, after) = one, other
    known, figure = before.figures[name], after.figures[name]
    if not beyond_noise(name, known, figure):
        return None
    is_load = name.startswith(CLOCKS) and _ran_the_same(earlier, later, before, after)
    worse, causes = (None, (SAME_FILES,)) if is_load else (_worse(known, figure), tuple(differences(earlier, later)))
    return Change(after.pair, name, known, figure, earlier.identity, later.identity, worse, causes, slowly)


def verdicts(nights: Sequence[Night]) -> Iterator[Verdict]:
    """The verdicts that changed, in order of time."""
    for earlier, later, before, after in _neighbours(nights):
        if before.verdict != after.verdict:
            yield Verdict(after.pair, before.verdict, after.verdict, earlier.identity, later.identity, tuple(differences(earlier, later)))


def beyond_noise(name: str, before: Figure, after: Figure) -> bool:
    """Whether two estimates of a figure differ by more than their intervals explain."""
    moved = abs(after.value - before.value)
    if before.ci is None or after.ci is None:
        return moved > (MEMORY if name == "peak_memory_bytes" else EXACT) * abs(before.value)
    return moved > math.hypot(*((high - low) / 2 for low, high in (before.ci, after.ci)))


def differences(earlier: Night, later: Night) -> Iterator[str]:
    """What two runs were made of that differs: code, data, parameters, libraries, machine."""
    for name, said in DIFFERS.items():
        before, after = (night.fingerprints.get(name, UNKNOWN) for night in (earlier, later))
        if before != after:
            yield f"{said} ({short(before)} to {short(after)})"
        elif name == "code" and not later.is_code_known:
            yield f"{CODE_MAY_DIFFER} ({short(before)} both times, which does not say what was changed)"
    yield from (f"library {name} differs ({one} to {other})" for name, (one, other) in _versions(earlier.libraries, later.libraries))


def _versions(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, str]]]:
    for name in sorted(before.keys() | after.keys()):
        pair = (before.get(name, "none"), after.get(name, "none"))
        if pair[0] != pair[1]:
            yield name, pair


def _neighbours(nights: Sequence[Night]) -> Iterator[tuple[Night, Night, Row, Row]]:
    """Every row beside the same one of the last night of the same params file before that has it."""
    last: dict[tuple[str, str, str], tuple[Night, Row]] = {}
    for night in nights:
        for row in night.rows:
            place = (night.params_file, *row.pair)
            if place in last:
                earlier, before = last[place]
                yield earlier, night, before, row
            last[place] = (night, row)


def _ran_the_same(earlier: Night, later: Night, before: Row, after: Row) -> bool:
    """Whether two rows are of the same files, on the same kind of machine."""
    machines = [night.fingerprints.get("machine", UNKNOWN) for night in (earlier, later)]
    return bool(before.release) and before.release == after.release and machines[0] == machines[1] and earlier.libraries == later.libraries


def _worse(before: Figure, after: Figure) -> bool | None:
    return None if not after.better else (after.value < before.value) == (after.better == "higher")


def short(fingerprint: str) -> str:
    """A fingerprint for people: 12 digits of the commit or checksum, and 8 of what was changed beside the commit."""
    if len(fingerprint) <= 12 or " " in fingerprint:
        return fingerprint
    commit, plus, changed = fingerprint.partition("+")
    return f"{commit[:12]}{plus}{changed[:8]}"
