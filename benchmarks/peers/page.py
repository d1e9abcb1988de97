"""The page of `make bench`, Markdown and HTML, from what was measured: nothing on it is typed."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench_workloads import SETTINGS
from frontier import BATCHES, Row, aggregated, standing
from results import Results, Seeds, where

from slimline.report.numbers import ABSENT, loss, ratio, size
from slimline.report.page import Figure, StagePage, Table, write_page
from slimline.report.pareto import Levels, Point, axis_name, axis_text, pareto_figure, upwards
from slimline.report.plain import span

OURS, PEER = "accept", "peer"
"""How points are drawn: as accepted ones are, and as none of the verdicts."""


def write(results: Results, path: Path, templates: Path) -> None:
    """Write `path`.md and `path`.html of what was measured."""
    tables = [table for name, result in results.items() for table in tables_of(name, result)]
    figures = tuple(figure_of(name, aggregated(result["seeds"])) for name, result in results.items())
    page = StagePage(
        stage="bench",
        variant=path.name,
        title="Slimline beside its peers",
        summary=tuple(verdicts(results)),
        comparison=(),
        tables=tuple(tables),
        figures=figures,
        notes=(
            "The day and the machine stand below each workload's table; one thread a model; the same teacher and data for all of it.",
            "Every tool at its documented defaults; what it made was run by the same worker, answered the same test samples and was timed "
            "in turns with ours. Speed: than the teacher in eager PyTorch, on CPU time, with 95 % intervals; the other ratios are than the "
            "float32 teacher on the same runtime. A drop's interval is over seeds where there are several, else over paired test samples.",
            "Minutes and memory: of the tool's own process; of ours, of the stages that lead from the teacher to the compiled variant.",
        ),
    )
    write_page(page, path, templates=templates)


def verdicts(results: Results) -> Iterator[str]:
    """A sentence a workload: how many of the peers' points are dominated."""
    for name, result in results.items():
        rows = aggregated(result["seeds"])
        peers, ours = (
            [row for row in rows if row["peer"] == is_peer and row["variant"] not in ("teacher", "bf16")] for is_peer in (True, False)
        )
        told = [standing(row, ours) for row in peers]
        beaten, empty = (sum(one.startswith(word) for one in told) for word in ("dominated", "made nothing"))
        yield (
            f"{name}: of {len(peers)} results of peers ours dominate {beaten}; {empty} made nothing; "
            f"{len(peers) - beaten - empty} are ahead in something."
        )


def tables_of(name: str, result: Mapping[str, Any]) -> Iterator[Table]:
    """One table of figures, and one of who is ahead."""
    seeds = result["seeds"]
    rows = aggregated(seeds)
    ours = [row for row in rows if not row["peer"] and row["variant"] != "teacher"]
    columns = ("who", "what", "runtime", "drop", "bytes", "smaller")
    batches = [batch for batch in BATCHES if any(batch in row.get("speed_ratio", {}) for row in rows)]
    columns += tuple(f"{batch.replace('_', ' ')}: {what}" for batch in batches for what in ("than eager", "same runtime", "noise"))
    columns += ("verdict", "minutes", "peak memory")
    note = f"{SETTINGS[name].text}; {len(seeds)} seed{'s' if len(seeds) > 1 else ''}; {seeds[0]['samples']} test samples; "
    note += f"{where(result)}{_by(seeds)}."
    yield Table(name, columns, tuple(tuple(_cells(row, batches)) for row in rows if "refused" not in row), note)
    told = tuple((row["variant"], row["target"], standing(row, ours)) for row in rows if row["peer"] and "refused" not in row)
    yield Table(f"{name}: who is ahead", ("peer", "runtime", "beside ours"), told)
    refused = tuple((row["variant"], row["target"], row["refused"]) for row in rows if "refused" in row)
    if refused:
        yield Table(f"{name}: made nothing", ("who", "runtime", "what it said last"), refused)


def _by(seeds: Seeds) -> str:
    commits = sorted({commit for seed in seeds for commit in seed.get("commits", ())})
    return f"; made by commit {', '.join(commits)}" if commits else ""


def _cells(row: Row, batches: Sequence[str]) -> Iterator[object]:
    unit = row["drop"]["unit"]
    yield from ("peer" if row["peer"] else "ours", row["variant"], row["target"])
    yield f"{loss(row['drop']['value'], unit)} {span(row['drop']['ci'], lambda value: loss(value, unit))}"
    yield from (f"{row['size_bytes']:,}", ratio(row["size_ratio"]))
    for batch in batches:
        if batch not in row.get("speed_ratio", {}):
            yield from (ABSENT, ABSENT, ABSENT)
            continue
        eager, same = row["speed_ratio"][batch], row["speed_ratio_same_runtime"][batch]
        yield from (
            f"{ratio(eager['value'])} {span(eager['ci'], ratio)}",
            ratio(same["value"]),
            f"{row['noise_floor'][batch]['value']:.1%}",
        )
    yield from (row.get("verdict", ABSENT), *_cost(row))


def _cost(row: Row) -> tuple[str, str]:
    cost = row.get("cost")
    return (ABSENT, ABSENT) if cost is None else (f"{cost['seconds'] / 60:.1f}", size(cost["peak_memory_bytes"]))


def figure_of(name: str, rows: Sequence[Row]) -> Figure:
    """The metric against the bytes."""
    judged = [row for row in rows if "refused" not in row]
    metric, unit = (judged[0]["drop"][key] for key in ("metric", "unit"))
    points = [
        Point(
            row["variant"] if row["peer"] else f"our {row['variant']}",
            row["target"],
            PEER if row["peer"] else OURS,
            float(row["size_bytes"]),
            upwards(row["quality"][metric])[0],
        )
        for row in judged
    ]
    written, words = partial(axis_text, unit=unit), {OURS: "ours", PEER: "a peer's"}
    labels = {"x_label": "bytes on disk", "y_label": axis_name(metric, unit)}
    svg = pareto_figure(points, Levels(), **labels, x_format=size, y_format=written, words=words)
    return Figure(f"{name}: {metric} against bytes", svg, "Filled: ours. Shapes are runtimes. Better is up, and to the left.")
