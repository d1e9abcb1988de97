"""The gate: from what `evaluate` and `time` write to a verdict with its reasons, always from intervals."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from slimline.errors import ParamsError
from slimline.params import GateParams
from slimline.verdict.place import place
from slimline.verdict.remarks import remarks
from slimline.verdict.words import amount, interval, moved, percentage, times

BATCH = "batch_1"
Outcome = Literal["pass", "fail", "unclear"]
Decision = Literal["accept", "reject", "inconclusive"]
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """`accept`, `reject` or `inconclusive`, and why: whole sentences, what decided it first."""

    verdict: Decision
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Margin:
    """How much worse a variant may be: `most` against the interval `ci`, both in the unit of `allowed`; `absolute` in the metric's own."""

    most: float
    ci: tuple[float, float]
    allowed: str
    absolute: float


@dataclass(frozen=True)
class Finding:
    """What one criterion of the gate says."""

    criterion: Literal["drop", "size", "speed"]
    outcome: Outcome
    sentence: str


def judge(quality: Facts, timing: Facts, gate: GateParams) -> Verdict:
    """Judge one variant on one target; `quality` is what evaluate wrote of it, `timing` what the stage time did.

    `reject` where one criterion fails with its whole interval, `accept` where all pass with theirs, else `inconclusive`.
    """
    found = findings(quality, timing, gate)
    telling = sorted(found, key=lambda finding: ("fail", "unclear", "pass").index(finding.outcome))
    return Verdict(together(found), (*(finding.sentence for finding in telling), *remarks(quality, timing)))


def together(found: Iterable[Finding]) -> Decision:
    """What the criteria come to."""
    outcomes = {finding.outcome for finding in found}
    return "reject" if "fail" in outcomes else "inconclusive" if "unclear" in outcomes else "accept"


def findings(quality: Facts, timing: Facts, gate: GateParams) -> tuple[Finding, ...]:
    """What each criterion says: the drop, the size and the speed at batch 1."""
    return (_drop(quality, gate), _size(quality, gate), _speed(timing, gate))


def margin_of(gate: GateParams, quality: Facts) -> Margin:
    """The gate's margin, absolute or as a share of the baseline's figure.

    Raises:
        ParamsError: the baseline's figure is 0, and there is no share of it.
    """
    drop = quality["drop"]
    if gate.max_relative_drop is None:
        low, high = drop["ci"]
        return Margin(gate.max_drop, (low, high), amount(gate.max_drop, drop["unit"]), gate.max_drop)
    if drop["relative"] is None:
        problem = f"the teacher's {drop['metric']} is 0, of which there is no share; give max_drop in its place"
        raise ParamsError([f"params.yaml: gate.max_relative_drop: {problem}"])
    low, high = drop["relative"]["ci"]
    before = abs(quality["baseline"]["quality"][drop["metric"]]["value"])
    return Margin(gate.max_relative_drop, (low, high), f"{percentage(gate.max_relative_drop)} of it", gate.max_relative_drop * before)


def _drop(quality: Facts, gate: GateParams) -> Finding:
    margin = margin_of(gate, quality)
    allowed, seen = margin.allowed, moved(quality["drop"])
    low, high = margin.ci
    if high <= margin.most:
        return Finding("drop", "pass", f"Quality kept: {seen}; the whole interval is within the {allowed} allowed.")
    if low > margin.most:
        return Finding("drop", "fail", f"Quality lost: {seen}; the whole interval lies beyond the {allowed} allowed.")
    return Finding("drop", "unclear", " ".join(_undecided(seen, margin, quality)))


def _undecided(seen: str, margin: Margin, quality: Facts) -> Iterator[str]:
    yield f"Quality undecided: {seen}; the interval reaches across the {margin.allowed} allowed."
    if quality["detectable_drop"] > margin.absolute:
        shown, samples = amount(quality["detectable_drop"], quality["drop"]["unit"]), quality["samples"]
        yield f"These {samples:,} test samples would show only a drop of {shown} or more (power 80 %): more test data would decide."


def _size(quality: Facts, gate: GateParams) -> Finding:
    ratio, bytes_now, bytes_before = quality["size_ratio"], quality["size_bytes"], quality["baseline"]["size_bytes"]
    seen = f"{f'{times(ratio)} smaller' if ratio >= 1 else 'larger'} ({bytes_before:,} to {bytes_now:,} bytes)"
    if ratio >= gate.min_size_ratio:
        return Finding("size", "pass", f"Size: {seen}; at least {times(gate.min_size_ratio)} was asked.")
    return Finding("size", "fail", f"Not small enough: {seen}; at least {times(gate.min_size_ratio)} was asked.")


def _speed(timing: Facts, gate: GateParams) -> Finding:
    ratio = timing["speed_ratio"][BATCH]
    seen = f"{times(ratio['value'])} as fast at batch 1 as the teacher in eager PyTorch ({interval(ratio['ci'], times)} on CPU time)"
    asked = times(gate.min_speed_ratio)
    if gate.min_speed_ratio == 0:
        return Finding("speed", "pass", f"Speed: {seen}; none was asked.")
    where = place(ratio["ci"], gate.min_speed_ratio)
    if where == "above":
        return Finding("speed", "pass", f"Speed: {seen}; {asked} was asked, and the whole interval clears it.")
    if where == "below":
        return Finding("speed", "fail", f"Not fast enough: {seen}; {asked} was asked, and the whole interval stays below it.")
    noise = f"{100 * timing['noise_floor'][BATCH]['value']:.1f} % from one launch to the next"
    return Finding("speed", "unclear", f"Speed undecided: {seen}; at {noise} that cannot be told from the {asked} asked.")
