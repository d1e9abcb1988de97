"""The page of lm-evaluation-harness: what a variant scores on one's own tasks beside the teacher, and whether the difference is shown."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from slimline.artifact.json_file import read_json
from slimline.errors import StageError
from slimline.report.numbers import count, percent
from slimline.report.page import StagePage, Table

Facts = Mapping[str, Any]
SCHEMA = 1
COLUMNS = ("task", "metric", "better", "documents", "teacher", "variant", "worse by", "p value")


def harness_page(facts: Facts) -> StagePage:
    """The page from the file that the stage `harness` writes."""
    limit = f" The first {facts['limit']:,} documents of each task were asked." if facts["limit"] else ""
    return StagePage(
        stage="harness",
        variant=f"{facts['variant']}-{facts['target']}",
        title=f"Tasks of your own: {facts['variant']} on {facts['target']}",
        summary=tuple(_summary(facts)),
        comparison=(),
        tables=(Table("Figures", COLUMNS, tuple(map(_cells, facts["rows"]))),),
        notes=(
            f"lm-evaluation-harness {facts['harness']}, local task files alone.{limit} Brackets hold {percent(facts['confidence'], 0)} "
            "intervals over documents; teacher and variant run on the same target and answer the same documents.",
        ),
    )


def read_harness(metrics: Path, variant: str, target: str) -> dict[str, Any] | None:
    """What summary.json holds of a variant's tasks on a target; None where the variant was not made.

    Raises:
        ArtifactError: the stage's file is missing or damaged.
        StageError: it is of another schema.
    """
    path = metrics / "harness" / f"{variant}-{target}.json"
    facts: dict[str, Any] = read_json(path)
    if "missed" in facts:
        return None
    if facts.get("schema") != SCHEMA:
        raise StageError(f"{path}: has schema {facts.get('schema')!r}, expected {SCHEMA}; run `dvc repro -f harness@{variant}-{target}`")
    return {name: facts[name] for name in ("variant", "target", "confidence", "rows")}


def harness_table(found: Sequence[Facts]) -> Table:
    """The decision page's table: every task of every variant that was asked."""
    cells = [(_named(one), one["target"], *_cells(row)) for one in found for row in one["rows"]]
    note = f"By lm-evaluation-harness on task files of your own; brackets hold {percent(found[0]['confidence'], 0)} intervals."
    return Table("Tasks of your own", ("variant", "target", *COLUMNS), tuple(cells), note)


def _named(one: Facts) -> Markup:
    return Markup('<a href="stages/harness/{0}-{1}.html">{0}</a>').format(escape(one["variant"]), escape(one["target"]))


def _summary(facts: Facts) -> Iterator[str]:
    known = [row for row in facts["rows"] if row["worse_ci"] is not None]
    if not known:
        yield "No figure of these tasks has an interval: they are no means over documents, or there is one document alone."
        return
    for said, chosen in (
        ("worse than the teacher's", [row for row in known if row["worse_ci"][0] > 0]),
        ("better", [row for row in known if row["worse_ci"][1] < 0]),
    ):
        names = ", ".join(f"{row['task']} ({row['metric']})" for row in chosen)
        where = f": {names}" if chosen else ""
        yield f"{count(len(chosen), 'figure')} of {len(known)} {'is' if len(chosen) == 1 else 'are'} shown to be {said}{where}."


def _cells(row: Facts) -> tuple[object, ...]:
    name = row["metric"] if row["filter"] == "none" else f"{row['metric']} ({row['filter']})"
    figures = (_with(row["baseline"], row["baseline_ci"]), _with(row["variant"], row["variant_ci"]))
    worse = None if row["worse_by"] is None else _with(row["worse_by"], row["worse_ci"])
    return row["task"], name, row["better"], row["documents"], *figures, worse, row["p_value"]


def _with(value: float, ends: Sequence[float] | None) -> str:
    span = "" if ends is None else f" [{ends[0]:.4g}, {ends[1]:.4g}]"
    return f"{value:.4g}{span}"
