"""What the numbers say, in sentences: what is not smaller, what is slower, and what this test could have shown."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from slimline.report.numbers import count, listed, loss, percent, quantity, ratio
from slimline.report.summary import measured
from slimline.verdict.zeros import in_short, speed_of_zeros, zero_share

Summary = Mapping[str, Any]
Row = Mapping[str, Any]
UNIT = re.compile(r"[^0-9]*$")
NOT_SMALLER = 1.02
"""Below this ratio of bytes a reader would call two files equally large."""


def headline(summary: Summary, best: Row | None) -> str:
    """The page in one line."""
    rows = summary["variants"]
    if best is None:
        return f"{summary['workload']}: none of {count(len(rows), 'deployed variant')} passed the gate"
    accepted = sum(row["verdict"] == "accept" for row in rows)
    return f"{summary['workload']}: {accepted} of {count(len(rows), 'deployed variant')} passed the gate"


def lead(summary: Summary, best: Row | None, metric: str) -> Iterator[str]:
    """The smallest accepted variant with its three figures, or that there is none."""
    if best is None:
        yield "Nothing is released. The reasons below say, for each variant, which limit it missed or could not be shown to keep."
        return
    speed, drop = best["speed_ratio"]["batch_1"], best["drop"]
    yield (
        f"The smallest that passed is {named(best)}: {ratio(best['size_ratio'])} smaller and {ratio(speed['value'])} faster at batch 1 "
        f"than the teacher in eager PyTorch, with {metric} {quantity(best['quality'][metric]['value'], drop['unit'])} "
        f"against {quantity(summary['baseline']['quality'][metric]['value'], drop['unit'])} "
        f"(drop {loss(drop['value'], drop['unit'])}, interval {span(drop['ci'], partial(loss, unit=drop['unit']))})."
    )


def power(summary: Summary, confidence: float) -> Iterator[str]:
    """Which drop the test set could have shown, and how far the clock's own noise reaches."""
    rows = measured(summary["variants"])
    drops = sorted(row["detectable_drop"] for row in rows)
    least, most = (loss(drop, rows[0]["drop"]["unit"]) for drop in (drops[0], drops[-1]))
    reach = least if least == most else f"{least} to {most}"
    yield (
        f"This test set of {count(rows[0]['samples'], 'sample')} could have shown a drop of {reach}, depending on how often the variant "
        f"and the teacher disagree (power 80 %, confidence {percent(confidence, 0)}). A smaller true drop may go unseen."
    )
    floors = {batch: max(row["noise_floor"][batch]["value"] for row in rows) for batch in rows[0]["noise_floor"]}
    said = listed([f"{percent(floor, 1)} at {batch.replace('_', ' ')}" for batch, floor in floors.items()])
    yield f"Timing the same models in another launch gave ratios up to {said} away: a smaller difference in speed is noise."


def shortfalls(summary: Summary) -> Iterator[str]:
    """What did not become smaller or faster, for each way of not doing so."""
    rows = measured(summary["variants"])
    yield _said(
        rows,
        _size,
        lambda value: value < NOT_SMALLER,
        "Not smaller than the teacher",
        "Every deployed variant is smaller than the teacher.",
    )
    for batch in rows[0]["speed_ratio"]:
        where = batch.replace("_", " ")
        slower = f"At {where} slower than the teacher in eager PyTorch"
        yield _said(
            rows, _eager(batch), lambda value: value < 1, slower, f"At {where} nothing is slower than the teacher in eager PyTorch."
        )
    if compressed := [row for row in rows if row["stage"] != "teacher"]:
        for batch in rows[0]["speed_ratio_same_runtime"]:
            where = batch.replace("_", " ")
            lag = f"At {where} not faster than the float32 teacher on the same target, so that any gain over eager PyTorch is the runtime's"
            fine = f"At {where} every variant is also faster than the float32 teacher on the same target."
            yield _said(compressed, _same_runtime(batch), lambda value: value <= 1, lag, fine)
    yield from zeros(summary)


def zeros(summary: Summary) -> Iterator[str]:
    """Of each variant that only holds zeros: where it is smaller, and the intervals by which it is not faster."""
    found = measured(summary["variants"])
    shares = {row["variant"]: share for row in found if (share := zero_share(row, summary["baseline"])) is not None}
    for name, share in shares.items():
        rows = [row for row in found if row["variant"] == name]
        told: dict[str, list[str]] = {}
        for row in rows:
            if said := speed_of_zeros(row["speed_ratio_same_runtime"]):
                told.setdefault(said, []).append(_against_float32(row))
        if told:
            sizes = listed([f"{row['target']} {ratio(_size(row))}" for row in rows])
            seen = "; ".join(f"{said}: {listed(measured)}" for said, measured in told.items())
            yield (
                f"{in_short(max(map(_size, rows)), told)}: {name}, "
                f"{percent(share, 0)} of whose weights are zeros, multiplied all the same; "
                f"times smaller: {sizes}; {seen} (batch 1, against the float32 teacher on the same target)."
            )


def elsewhere(keys: Sequence[str]) -> str:
    """A warning where timings of several machines stand in one table."""
    return (
        f"The timings of {listed(keys)} come from another machine (fetched from the cache); their milliseconds do not compare."
        if keys
        else ""
    )


def missing(summary: Summary) -> Iterator[str]:
    """What failed stages have kept from being judged: each with the variants it cost, and what the stage said."""
    lost: dict[tuple[str, str], list[str]] = {}
    for one in summary["missing"]:
        what = one["variant"] if one["target"] is None else named(one)
        lost.setdefault((one["stage"], one["reason"]), []).append(what)
    for (stage, reason), names in lost.items():
        yield f"The stage {stage} failed, which keeps {listed(names)} from this page: {reason}"


def named(row: Row) -> str:
    """A deployed variant in a sentence."""
    return f"{row['variant']} on {row['target']}"


def span(interval: Sequence[float], write: Callable[[float], str]) -> str:
    """An interval in brackets, the unit written once."""
    low, high = (write(end) for end in interval)
    unit = UNIT.search(high)
    return f"[{low.removesuffix(unit[0] if unit else '')}, {high}]"


def _said(rows: Sequence[Row], figure: Callable[[Row], float], wanting: Callable[[float], bool], title: str, otherwise: str) -> str:
    found = sorted((row for row in rows if wanting(figure(row))), key=figure)
    if not found:
        return otherwise
    names = dict.fromkeys(row["variant"] for row in found)
    return f"{title}: {listed([f'{name} ({_on_targets(found, name, figure)})' for name in names])}."


def _on_targets(rows: Sequence[Row], variant: str, figure: Callable[[Row], float]) -> str:
    return ", ".join(f"{row['target']} {ratio(figure(row))}" for row in rows if row["variant"] == variant)


def _size(row: Row) -> float:
    return float(row["size_ratio"])


def _eager(batch: str) -> Callable[[Row], float]:
    return lambda row: float(row["speed_ratio"][batch]["value"])


def _against_float32(row: Row) -> str:
    found = row["speed_ratio_same_runtime"]["batch_1"]
    return f"{row['target']} {ratio(found['value'])} {span(found['ci'], ratio)}"


def _same_runtime(batch: str) -> Callable[[Row], float]:
    return lambda row: float(row["speed_ratio_same_runtime"][batch]["value"])
