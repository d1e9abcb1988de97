"""Tables and figures of the page of a recipe search."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from slimline.params import Params
from slimline.report.numbers import ABSENT, gain, loss, ratio
from slimline.report.page import Table
from slimline.report.scatter import Dot, scatter_figure
from slimline.search.effects import Effect
from slimline.search.figures import Figures
from slimline.search.record import Tried

KINDS = ("brief training", "full training", "judged on test")


def fates(tried: Sequence[Tried], front: Sequence[Tried]) -> dict[str, int]:
    """How many chains ended how."""
    names = {one.number for one in front}
    counted = Counter(_fate(one, one.number in names) for one in tried)
    return dict(counted.most_common())


def chains_table(tried: Sequence[Tried], front: Sequence[Tried], unit: str) -> Table:
    """Every chain."""
    names = {one.number for one in front}
    rows = tuple((one.number, one.letters, *_chain_cells(one, one.number in names, unit)) for one in tried)
    columns = ("chain", "order", "methods", "drop, brief", "smaller", "quicker", "drop, full", "smaller", "quicker", "became", "seconds")
    return Table("Every chain", columns, rows, "Drops are on validation, quicker is estimated; seconds are those of its own stages.")


def orders_table(tried: Sequence[Tried], accepted: Sequence[str]) -> Table:
    """What came of each order."""
    rows = []
    for order in sorted({one.letters for one in tried}, key=lambda order: (len(order), order)):
        of = [one for one in tried if one.letters == order]
        full = [one for one in of if one.full is not None]
        within = sum(one.name in accepted for one in of)
        smallest = max((one.full.size_ratio for one in full if one.full), default=None)
        quickest = max((one.full.time_ratio for one in full if one.full), default=None)
        rows.append((order, len(of), len(full), within, ratio(smallest), ratio(quickest)))
    columns = ("order", "tried", "in full", "accepted", "smallest of the full", "quickest of the full, estimated")
    return Table("By order", columns, tuple(rows), "P pruning, L low rank, D distillation, Q quantization.")


def effects_table(effects: Sequence[Effect], unit: str) -> Table:
    """The analysis of variance."""
    rows = tuple((effect.what, effect.response, *_told(effect, unit), effect.p_value, effect.share, effect.chains) for effect in effects)
    columns = ("what", "response", "effect", "95 % interval", "p", "share of variance", "chains")
    note = "A positive effect on the drop is worse, on doublings better. No row: too few chains had one and the other, or all are equal."
    return Table("What techniques and orders are worth", columns, rows, note)


def judged_table(front: Sequence[Tried], params: Params, summary: Mapping[str, Any]) -> Table:
    """What test said of the frontier, and of what stands beside it."""
    words = {one.name: one.words for one in front} | dict.fromkeys(params.search.beside if params.search else (), "by hand")
    rows = tuple(_judged_row(row, words[row["variant"]]) for row in summary["variants"] if row["variant"] in words)
    columns = ("variant", "methods", "target", "drop on test", "smaller", "as fast as eager", "verdict", "first reason")
    return Table("Judged on test", columns, rows, "Against the teacher in eager PyTorch; intervals are in frontier/index.html.")


def points_figure(tried: Sequence[Tried], front: Sequence[Tried], params: Params, what: Literal["size", "time"]) -> str:
    """Every chain as a point: what is left of the size or the time, and the drop."""
    names = {one.number for one in front}
    dots = [_dot(one, one.number in names, what) for one in tried if one.full or one.brief]
    floor = params.gate.max_drop if params.gate.max_relative_drop is None else None
    left = "share of the teacher's size" if what == "size" else "share of the teacher's estimated time"
    return scatter_figure(dots, KINDS, x_label=left, y_label="drop on validation", floor=floor)


def _dot(one: Tried, is_judged: bool, what: str) -> Dot:
    figures = one.full or one.brief
    assert figures is not None
    kind = KINDS[2] if is_judged else KINDS[1] if one.full else KINDS[0]
    return Dot(f"{one.number}: {one.words}", kind, 1 / (figures.size_ratio if what == "size" else figures.time_ratio), figures.drop)


def _chain_cells(one: Tried, is_judged: bool, unit: str) -> tuple[object, ...]:
    return one.words, *_cells(one.brief, unit), *_cells(one.full, unit), _became(one, is_judged), one.seconds


def _cells(figures: Figures | None, unit: str) -> tuple[str, str, str]:
    if figures is None:
        return (ABSENT,) * 3
    return loss(figures.drop, unit), ratio(figures.size_ratio), ratio(figures.time_ratio)


def _fate(one: Tried, is_judged: bool) -> str:
    if is_judged:
        return "judged on test"
    if one.full is not None:
        return "trained in full, beaten or beyond the margin"
    if one.reason is not None:
        return "given up after the brief training" if one.brief is not None else "could not be made"
    return "put off: the machine failed" if one.put_off else "not among the best after the brief training"


def _became(one: Tried, is_judged: bool) -> str:
    return one.reason or (f"put off: {one.put_off}" if one.put_off else _fate(one, is_judged))


def _told(effect: Effect, unit: str) -> tuple[str, str]:
    value, low, high = (
        gain(number, unit) if effect.response == "drop" else f"{number:+.2f}" for number in (effect.value, effect.low, effect.high)
    )
    return value, f"{low} to {high}"


def _judged_row(row: Mapping[str, Any], words: str) -> tuple[object, ...]:
    if row.get("missed") is not None:
        return row["variant"], words, row["target"], ABSENT, ABSENT, ABSENT, row["verdict"], row["reasons"][0]
    drop, speed = row["drop"], (row.get("speed_ratio") or {}).get("batch_1")
    fast = ABSENT if speed is None else f"{ratio(speed['value'])} [{ratio(speed['ci'][0])} to {ratio(speed['ci'][1])}]"
    unit = str(drop.get("unit", "fraction"))
    lost = f"{loss(drop['value'], unit)} [{' to '.join(loss(end, unit) for end in drop['ci'])}]"
    return row["variant"], words, row["target"], lost, ratio(row["size_ratio"]), fast, row["verdict"], row["reasons"][0]
