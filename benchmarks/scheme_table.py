"""The table and the figures of benchmarks/schemes.py, from rows as in reports/summary.json."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scheme_list import FAMILIES

from slimline.params import TEACHER
from slimline.report.numbers import ABSENT, loss, milliseconds, ratio, size
from slimline.report.pareto import Levels, Point, pareto_figure
from slimline.report.plain import span

Row = Mapping[str, Any]
METRIC = "accuracy"
FLOAT16 = "bf16"
INK, PAPER = "#24292f", "#ffffff"


def markdown(summary: Mapping[str, Any], failed: Sequence[str], command: str, family: str) -> str:
    """One table, a row a scheme and runtime, with what it means and what failed below it."""
    rows = summary["variants"]
    batches = tuple(rows[0]["latency_ms"])
    base, beside = summary["baseline"], FAMILIES[family].beside
    heads = [head for batch in batches for head in _heads(batch, beside)]
    counted = () if beside else ("parameters", "zero", "MACs")
    columns = ("scheme", "runtime", "drop, pp", "lost, gained", "bytes", "smaller", *counted, *heads, "verdict")
    cells = [
        [*_quality(row), *(_counted(row, base) if counted else ()), *_speeds(row, rows, batches, beside), row["verdict"]] for row in rows
    ]
    lines = [_line(columns), _line(["---"] * len(columns)), *map(_line, cells)]
    machine = summary["run"]["machine"]
    of_bf16 = "The ratio to bf16 is one of two measured ratios. " if beside else "Parameters and MACs: how many times fewer. "
    facts = (
        f"Workload {summary['workload']}: teacher {base['quality'][METRIC]['value']:.2%} on {rows[0]['samples']} test samples, "
        f"{size(base['size_bytes'])}; {machine['cpu']}, {machine['threads']} thread; in brackets 95 % intervals. "
        f"Smaller and faster than the teacher in eager PyTorch; than float32{' and bf16' if beside else ''}: on the same runtime. "
        f"{of_bf16}Noise: how far the same model against itself lies from 1."
    )
    missing = ["Not there:", "", *(f"- {line}" for line in failed), ""] if failed else []
    return "\n".join(
        [f"# {FAMILIES[family].title} on {summary['workload']}", "", f"Made by `{command}`.", "", facts, "", *lines, "", *missing]
    )


def _heads(batch: str, beside: Sequence[str]) -> tuple[str, ...]:
    name = batch.replace("_", " ")
    return tuple(f"{name}: {what}" for what in ("than eager", "than float32", *(("than bf16",) if beside else ()), "noise"))


def _quality(row: Row) -> Iterator[str]:
    drop, flips = row["drop"], row["flips"]
    yield from (row["variant"], row["target"], f"{loss(drop['value'])} {span(drop['ci'], loss)}", f"{flips['lost']}, {flips['gained']}")
    yield from (f"{row['size_bytes']:,}", ratio(row["size_ratio"]))


def _counted(row: Row, base: Row) -> Iterator[str]:
    """Parameters and MACs beside the teacher's, and the share of zeros among what is left."""
    yield ratio(base["parameters"] / row["parameters"])
    yield f"{1 - row['nonzero'] / row['parameters']:.1%}"
    yield ratio(base["macs"] / row["macs"])


def _speeds(row: Row, rows: Sequence[Row], batches: Sequence[str], beside: Sequence[str]) -> Iterator[str]:
    for batch in batches:
        eager, same = row["speed_ratio"][batch], row["speed_ratio_same_runtime"][batch]
        yield f"{ratio(eager['value'])} {span(eager['ci'], ratio)}"
        yield f"{ratio(same['value'])} {span(same['ci'], ratio)}"
        if beside:
            yield _against_sixteen_bits(row, rows, batch)
        yield f"{row['noise_floor'][batch]['value']:.1%}"


def _against_sixteen_bits(row: Row, rows: Sequence[Row], batch: str) -> str:
    """How much faster than bf16 on the same target, by both rows' ratios to float32 there."""
    beside = [other for other in rows if other["variant"] == FLOAT16 and other["target"] == row["target"]]
    if not beside:
        return ABSENT
    return ratio(row["speed_ratio_same_runtime"][batch]["value"] / beside[0]["speed_ratio_same_runtime"][batch]["value"])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_figures(summary: Mapping[str, Any], folder: Path, prefix: str = "") -> None:
    """size.svg and latency.svg: accuracy against bytes, and against the median time of a single sample."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, write, x_label in (("size", size, "size on disk"), ("latency", milliseconds, "median latency at batch 1")):
        base = _point(summary["baseline"] | {"verdict": ""}, name)
        points = [_point(row, name) for row in summary["variants"]]
        y_label = f"{METRIC} on {summary['workload']}"
        drawn = pareto_figure(points, Levels(base), x_label=x_label, y_label=y_label, x_format=write, y_format=_percent)
        (folder / f"{prefix}{name}.svg").write_text(standalone(drawn), encoding="utf-8")


def standalone(svg: str) -> str:
    """A figure of the report as a file of its own: on paper of its own, since it has no page's colours."""
    head, _, rest = svg.partition(">")
    return f'{head} style="color:{INK};--sheet:{PAPER};font-family:sans-serif"><rect width="100%" height="100%" fill="{PAPER}"/>{rest}\n'


def _point(row: Row, cost: str) -> Point:
    quality = row["quality"][METRIC]
    name = "teacher, eager PyTorch" if row["target"] == "eager" and row["variant"] == TEACHER else row["variant"]
    x = row["size_bytes"] if cost == "size" else row["latency_ms"]["batch_1"]["p50"]
    return Point(name, row["target"], row["verdict"], x, quality["value"], None, (quality["ci"][0], quality["ci"][1]))


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
