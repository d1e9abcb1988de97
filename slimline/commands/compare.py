"""`slimline compare A B`: two variants, or two runs, side by side."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from slimline.artifact.border import told_as
from slimline.artifact.json_file import read_json
from slimline.errors import ArtifactError, InputError
from slimline.params import Params
from slimline.project import find_project
from slimline.report.numbers import change, gain, loss, quantity, times

SUMMARY = Path("reports/summary.json")
PLAIN = {"size_bytes": "bytes", "peak_memory_bytes": "bytes", "parameters": "", "nonzero": "", "macs": ""}
Row = Mapping[str, Any]


def compare(
    a: Annotated[str, typer.Argument(help="variant-target of reports/summary.json, or a run: a summary.json, its folder, a git revision")],
    b: Annotated[str, typer.Argument(help="the same kind of thing, compared with A")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures for a machine.")] = False,
) -> None:
    """Show what changes from A to B: quality, size, work, time and verdict.

    Two variants are compared on the same test samples where both predictions are there.

    Example: `slimline compare int8-onnxruntime small-int8-onnxruntime` or `slimline compare HEAD~1 reports/summary.json`
    """
    root = find_project()
    rows = _summary_rows(root / SUMMARY) if (root / SUMMARY).is_file() else {}
    if a in rows and b in rows:
        found = {"kind": "variants", "a": a, "b": b, "figures": _figures(rows[a], rows[b]), "paired": _paired(root, a, b)}
    elif a in rows or b in rows:
        other = b if a in rows else a
        raise InputError(f"{other}: no variant-target of {SUMMARY}; it has: {', '.join(rows)}; compare two of them, or two runs")
    else:
        found = _compared_runs(a, b, _run_rows(a, root, rows), _run_rows(b, root, rows))
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, sort_keys=True, allow_nan=False) + "\n")
        return
    (_show_variants if found["kind"] == "variants" else _show_runs)(found)


def _summary_rows(path: Path) -> dict[str, Row]:
    summary = read_json(path)
    if not isinstance(summary, dict) or "variants" not in summary:
        raise InputError(f"{path}: is no summary of a run; give a summary.json that `report` wrote")
    return {f"{row['variant']}-{row['target']}": row for row in summary["variants"]}


def _run_rows(name: str, root: Path, known: Mapping[str, Row]) -> dict[str, Row]:
    """The rows of a run: a summary.json, a folder that holds one, or a git revision whose summary DVC has."""
    path = Path(name)
    for candidate in (path, path / SUMMARY, path / SUMMARY.name):
        if candidate.is_file():
            return _summary_rows(candidate)
    import dvc.api
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    try:
        text = dvc.api.read(str(SUMMARY), repo=str(root), rev=name)
    except (DvcException, SCMError, OSError) as error:
        raise InputError(
            f"{name}: neither a variant-target of {SUMMARY} ({', '.join(known) or 'which is not there yet'}), nor a summary.json, nor a "
            f"revision whose summary is in the DVC cache ({type(error).__name__}); fetch it with `slimline s3 -- dvc fetch --all-commits`"
        ) from None
    return {f"{row['variant']}-{row['target']}": row for row in json.loads(text)["variants"]}


def _figures(a: Row, b: Row) -> list[dict[str, Any]]:
    """Every figure that both rows have: name, unit, a, b, and which way is better."""
    before, after = dict(_named(a)), dict(_named(b))
    return [
        {"name": name, "unit": unit, "better": better, "a": value, "b": after[name][0]}
        for name, (value, unit, better) in before.items()
        if name in after
    ]


def _named(row: Row) -> Iterator[tuple[str, tuple[float | None, str, str]]]:
    if row.get("missed") is not None:  # it was not made and has no figures
        return
    for name, figure in row["quality"].items():
        yield name, (figure["value"], figure["unit"], figure["better"])
    for name, unit in PLAIN.items():
        yield name.removesuffix("_bytes").replace("_", " "), (row[name], unit, "lower")
    for batch, levels in row["latency_ms"].items():
        yield f"latency p50, {batch.replace('_', ' ')}", (levels["p50"], "ms", "lower")
    for batch, ratio in row["speed_ratio"].items():
        yield f"times as fast as the teacher, {batch.replace('_', ' ')}", (ratio["value"], "", "higher")


def _paired(root: Path, a: str, b: str) -> dict[str, Any] | None:
    """By how much B is worse than A on the very same samples, where both predictions are there."""
    files = [root / "data" / "evaluated" / name / "predictions.parquet" for name in (a, b)]
    if not all(file.is_file() for file in files):
        return None
    import pandas as pd

    from slimline.verdict.paired_errors import clusters_of, paired_errors

    with told_as(lambda reason: ArtifactError(f"{files[0]} or {files[1]}: is damaged: {reason}; evaluate both again")):
        first, second = (pd.read_parquet(file) for file in files)
    if not first["index"].equals(second["index"]) or not first["target"].map(str).equals(second["target"].map(str)):
        return None
    before, after = (table["variant_error"].to_numpy(float) for table in (first, second))
    found = paired_errors(before, after, Params.load(root / "params.yaml").gate.confidence, clusters_of(first))
    return {**asdict(found), "ci": list(found.ci)}


def _compared_runs(a: str, b: str, before: Mapping[str, Row], after: Mapping[str, Row]) -> dict[str, Any]:
    both = {
        name: {"figures": _figures(before[name], after[name]), "verdict": {"a": before[name]["verdict"], "b": after[name]["verdict"]}}
        for name in before
        if name in after
    }
    only = {"only_a": [name for name in before if name not in after], "only_b": [name for name in after if name not in before]}
    return {"kind": "runs", "a": a, "b": b, "variants": both, **only}


def _show_variants(found: Mapping[str, Any]) -> None:
    table = Table("", found["a"], found["b"], "change", "times better")
    for figure in found["figures"]:
        table.add_row(figure["name"], *_cells(figure))
    console = Console()
    console.print(table)
    paired = found["paired"]
    if paired is None:
        console.print("No paired test: data/evaluated lacks the predictions of one of them (fetch them with `slimline s3 -- dvc pull`).")
        return
    low, high = paired["ci"]
    exact, unit = paired["lost"] is not None, paired["unit"]
    what = "the share of right answers drops" if exact else "the mean error grows"
    flips = f": {paired['lost']:,} lost, {paired['gained']:,} gained" if exact else ""
    console.print(
        f"On the same {paired['samples']:,} test samples {what} by {loss(paired['drop'], unit)} "
        f"({gain(low, unit)} to {gain(high, unit)}; {paired['test']} p = {paired['p_value']:.2g}){flips}."
    )


def _show_runs(found: Mapping[str, Any]) -> None:
    """One line for every figure that changed; timings change in every run."""
    table = Table("variant-target", "figure", found["a"], found["b"], "change", "times better")
    for name, compared in found["variants"].items():
        moved = [figure for figure in compared["figures"] if figure["a"] != figure["b"]]
        for figure in moved:
            table.add_row(name, figure["name"], *_cells(figure))
        verdict = compared["verdict"]
        if verdict["a"] != verdict["b"]:
            table.add_row(name, "verdict", verdict["a"], verdict["b"], "", "")
    console = Console()
    console.print(table if table.rows else "The two runs hold the same figures.")
    for key, where in (("only_a", found["a"]), ("only_b", found["b"])):
        if found[key]:
            console.print(f"Only in {where}: {', '.join(found[key])}")


def _cells(figure: Mapping[str, Any]) -> tuple[str, str, str, str]:
    before, after, unit = figure["a"], figure["b"], figure["unit"]
    return quantity(before, unit), quantity(after, unit), change(before, after, unit), times(before, after, figure["better"], unit)
