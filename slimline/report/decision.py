"""reports/index.html and index.md: which variant to deploy, on what evidence, and what speaks against it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slimline.artifact.folder import write_text
from slimline.params import TEACHER, GateParams, Params
from slimline.report import plain
from slimline.report.cache import cache_table
from slimline.report.controls import Control
from slimline.report.gate_rule import RuleResult
from slimline.report.harness import harness_table
from slimline.report.lineage import Node, lineage_figure
from slimline.report.lost import LostSamples
from slimline.report.numbers import gain, loss, milliseconds, percent, quantity, ratio, size
from slimline.report.page import Figure, Table
from slimline.report.pareto import Levels, Point, axis_name, axis_text, pareto_figure, upwards
from slimline.report.render import TEMPLATES, render
from slimline.report.summary import by_merit, count_verdicts, measured, preferred
from slimline.report.tables import half_table, pages_table, quality_table, speed_table
from slimline.verdict.gate import margin_of

BEFORE_VARIANTS = ("data", "look", "teacher", "calibrate")
BESIDE: dict[str, Callable[[Sequence[Mapping[str, Any]]], Table]] = {"cache": cache_table, "harness": harness_table}
"""What stages beside the verdict found of language models -> its table."""
LATENCY = "latency at batch 1 (median; the whisker ends at the 95th percentile)"


@dataclass(frozen=True)
class Evidence:
    """All that the decision page is made from."""

    summary: Mapping[str, Any]
    params: Params
    controls: tuple[Control, ...]
    lost: LostSamples
    rules: tuple[RuleResult, ...]
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tile:
    """One big figure: what it is, the value, and what it is held against."""

    name: str
    value: str
    against: str


def write_decision(evidence: Evidence, folder: Path, *, templates: Path = TEMPLATES) -> None:
    """Write `index.html` and `index.md` into a folder; same evidence, same bytes.

    Raises:
        InputError: the templates are not found from the current folder, or one is broken.
    """
    context = decision_context(evidence)
    for ending in ("md", "html"):
        write_text(folder / f"index.{ending}", render(f"index.{ending}.j2", context, templates))


def decision_context(evidence: Evidence) -> dict[str, Any]:
    """What the templates show: every figure is computed here or by their filters, none is typed."""
    summary, params = evidence.summary, evidence.params
    rows, metric = by_merit(summary["variants"]), params.gate.metric
    best, shown = preferred(rows), measured(rows)
    unit = shown[0]["drop"]["unit"]
    return {
        "summary": summary,
        "metric": metric,
        "gate": params.gate,
        "rows": rows,
        "span": plain.span,
        "figure": partial(quantity, unit=unit),
        "ends": partial(percent, digits=1) if unit == "fraction" else partial(quantity, unit=unit),
        "gained": partial(gain, unit=unit),
        "loss": partial(loss, unit=unit),
        "allowed": allowed(params.gate, unit),
        "ratio": ratio,
        "headline": plain.headline(summary, best),
        "lead": tuple(plain.lead(summary, best, metric)),
        "tiles": tuple(_tiles(summary, best, metric)),
        "figures": (_pareto(evidence, _size_point, "size on disk", size), _pareto(evidence, _latency_point, LATENCY, milliseconds)),
        "lineage": Figure("Where each variant comes from", lineage_figure(tuple(_nodes(evidence)))),
        "missing": tuple(plain.missing(summary)),
        "power": tuple(plain.power(summary, params.gate.confidence)),
        "shortfalls": tuple(plain.shortfalls(summary)),
        "elsewhere": plain.elsewhere(evidence.elsewhere),
        "controls": evidence.controls,
        "half": half_table(shown, metric),
        "beside": tuple(table(summary[section]) for section, table in BESIDE.items() if summary[section]),
        "details": (speed_table(shown), quality_table(shown)),
        "lost": evidence.lost,
        "rules": evidence.rules,
        "before": BEFORE_VARIANTS,
        "pages": pages_table(params, {(one["variant"], one["target"]) for one in summary["missing"]}),
    }


def _tiles(summary: Mapping[str, Any], best: Mapping[str, Any] | None, metric: str) -> Iterator[Tile]:
    verdicts = count_verdicts(summary)
    rest = f"{verdicts['inconclusive']} inconclusive, {verdicts['reject']} rejected"
    if best is not None:
        base, speed, drop = summary["baseline"], best["speed_ratio"]["batch_1"], best["drop"]
        yield Tile("smaller", ratio(best["size_ratio"]), f"{size(best['size_bytes'])}, teacher {size(base['size_bytes'])}")
        yield Tile("faster at batch 1", ratio(speed["value"]), f"{_p50(best)}, teacher {_p50(base)}")
        written = partial(loss, unit=drop["unit"])
        yield Tile(f"drop in {metric}", written(drop["value"]), f"interval {plain.span(drop['ci'], written)}")
    yield Tile("accepted", f"{verdicts['accept']} of {len(summary['variants'])}", rest)


def _pareto(evidence: Evidence, point: Callable[[Mapping[str, Any], str], Point], x_label: str, write: Callable[[float], str]) -> Figure:
    summary, gate = evidence.summary, evidence.params.gate
    shown = measured(summary["variants"])
    base = point(summary["baseline"] | {"verdict": ""}, gate.metric)
    floor = base.y - margin_of(gate, {**shown[0], "baseline": summary["baseline"]}).absolute
    unit = shown[0]["drop"]["unit"]
    written, y_label = partial(axis_text, unit=unit), axis_name(gate.metric, unit)
    levels, drawn = Levels(base, floor), [point(row, gate.metric) for row in shown]
    svg = pareto_figure(drawn, levels, x_label=x_label, y_label=y_label, x_format=write, y_format=written)
    return Figure(f"{gate.metric.capitalize()} against {x_label.split(' (')[0]}", svg)


def _size_point(row: Mapping[str, Any], metric: str) -> Point:
    return Point(_point_name(row), row["target"], row["verdict"], row["size_bytes"], *_y(row, metric))


def _latency_point(row: Mapping[str, Any], metric: str) -> Point:
    latency, (y, _, interval) = row["latency_ms"]["batch_1"], _y(row, metric)
    return Point(_point_name(row), row["target"], row["verdict"], latency["p50"], y, (latency["p50"], latency["p95"]), interval)


def _y(row: Mapping[str, Any], metric: str) -> tuple[float, None, tuple[float, float]]:
    value, interval = upwards(row["quality"][metric])
    return value, None, interval


def _point_name(row: Mapping[str, Any]) -> str:
    return "teacher, eager PyTorch" if row["target"] == "eager" and row["variant"] == TEACHER else row["variant"]


def allowed(gate: GateParams, unit: str) -> str:
    """The gate's margin as a reader has it."""
    return loss(gate.max_drop, unit) if gate.max_relative_drop is None else f"{percent(gate.max_relative_drop)} of the teacher's"


def _nodes(evidence: Evidence) -> Iterator[Node]:
    """The teacher and every variant, in the order of params.yaml with each after its source."""
    params, rows = evidence.params, evidence.summary["variants"]
    base = evidence.summary["baseline"]
    made = "fetched" if params.teacher.source != "train" else "trained here"
    for name in (TEACHER, *params.variants):
        own = by_merit([row for row in rows if row["variant"] == name])
        reached = _reached(own)
        verdict = own[0]["verdict"] if own else None
        if name == TEACHER:
            yield Node(name, None, f"baseline, {made}", f"{size(base['size_bytes'])}, {_p50(base)} (eager)", None)
        else:
            stage, config = params.variants[name]
            yield Node(name, config.source, f"{stage}: {config.method}", reached, verdict)


def _reached(rows: list[Mapping[str, Any]]) -> str:
    """A variant's best figures, from its rows by merit."""
    if not rows:
        return "not deployed, or missing"
    size_ratio = rows[0]["size_ratio"]
    return "not made" if size_ratio is None else f"{ratio(size_ratio)} smaller, {ratio(rows[0]['speed_ratio']['batch_1']['value'])} faster"


def _p50(row: Mapping[str, Any]) -> str:
    return milliseconds(row["latency_ms"]["batch_1"]["p50"])
