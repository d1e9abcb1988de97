"""The page of one evaluation: what a variant on a target answers on the test split, beside the teacher."""

from collections.abc import Mapping
from typing import Any

from slimline.report.generations import generations_tables, generations_text
from slimline.report.numbers import loss, percent, ratio
from slimline.report.page import Row, StagePage, Table
from slimline.verdict.words import moved

Facts = Mapping[str, Any]
FEW_CLUSTERS = 10
"""Of fewer, each weighs a tenth or more: intervals cover less than they say (tests/unit/test_coverage.py)."""


def evaluation_page(quality: Facts) -> StagePage:
    """The page from the file that evaluate writes; every difference on it is computed from that."""
    label = f"{quality['variant']}-{quality['target']}"
    return StagePage(
        stage="evaluate",
        variant=label,
        title=f"{quality['variant']} on {quality['target']}",
        summary=tuple(_summary(quality)),
        comparison=(*_quality_rows(quality), *_size_rows(quality)),
        tables=(
            _interval_table(quality),
            *((_group_table(quality),) if quality["groups"] else ()),
            *generations_tables(quality.get("generations")),
        ),
        notes=tuple(_notes(quality)),
    )


def _summary(quality: Facts) -> list[str]:
    drop, flips = quality["drop"], quality["flips"]
    return [
        f"On {quality['samples']:,} test samples {moved(drop)}{_flipped(flips)}.",
        f"{ratio(quality['size_ratio'])} smaller on disk than the teacher; weights in {quality['precision']}, arithmetic in "
        f"{quality['computes']}. How fast it is stands on the page of {quality['target']}'s times.",
        *generations_text(quality.get("generations")),
        *_few(quality["clusters"]),
        f"This test set would have shown a true drop of {loss(quality['detectable_drop'], drop['unit'])} or more with a power of 80 %.",
    ]


def _few(clusters: Facts | None) -> list[str]:
    if clusters is None or clusters["of_equal_size"] >= FEW_CLUSTERS:
        return []
    return [f"The samples are of {_told(clusters)}: so few leave intervals wide and rough; give the test split more."]


def _told(clusters: Facts) -> str:
    return f"{clusters['count']:,} clusters that belong together, which say as much as {clusters['of_equal_size']:.1f} of equal size"


def _flipped(flips: Facts | None) -> str:
    return "" if flips is None else f": {flips['lost']:,} samples lost, {flips['gained']:,} gained"


def _quality_rows(quality: Facts) -> list[Row]:
    before = quality["baseline"]["quality"]
    return [
        Row(name, before[name]["value"], figure["value"], figure["unit"], figure["better"]) for name, figure in quality["quality"].items()
    ]


def _size_rows(quality: Facts) -> list[Row]:
    before = quality["baseline"]
    return [
        Row("size on disk", before["size_bytes"], quality["size_bytes"], "bytes", "lower"),
        Row("parameters", before["parameters"], quality["parameters"], better="lower"),
        Row("non-zeros", before["nonzero"], quality["nonzero"], better="lower"),
        Row("MACs", before["macs"], quality["macs"], better="lower"),
    ]


def _interval_table(quality: Facts) -> Table:
    rows = tuple(
        (name, figure["value"], *figure["ci"], quality["baseline"]["quality"][name]["value"], *quality["baseline"]["quality"][name]["ci"])
        for name, figure in quality["quality"].items()
    )
    columns = ("metric", "variant", "from", "to", "teacher", "from ", "to ")
    drawn = "" if quality["clusters"] is None else f" over {_told(quality['clusters'])}"
    return Table("Quality with intervals", columns, rows, f"Bootstrap intervals{drawn} at a confidence of {quality['confidence']:g}.")


def _group_table(quality: Facts) -> Table:
    groups, before = quality["groups"], quality["baseline"]["groups"]
    figures = tuple(next(iter(groups.values()), {}))
    columns = tuple(f"{name}, {who}" for name in figures for who in ("teacher", "variant"))
    rows = tuple(
        (group, *(percent(side[group][name]) for name in figures for side in (before, groups) if group in side)) for group in groups
    )
    return Table("Group by group", ("group", *columns), rows)


def _notes(quality: Facts) -> list[str]:
    notes = ["Size is every byte of the folder that one deploys, its manifest included."]
    if quality["nonzero"] < quality["parameters"]:
        notes.append("Non-zeros and MACs are those of the float weights; dense kernels compute zeros like any other number.")
    return notes
