"""The table that ends a run on the console."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from slimline.report.numbers import ABSENT, loss, percent, ratio, size
from slimline.report.plain import span
from slimline.report.summary import by_merit

STYLES = {"accept": "bold green", "reject": "bold red", "inconclusive": "bold yellow"}


def results_table(summary: Mapping[str, Any], releases: Mapping[str, str] | None = None) -> Table:
    """One row a deployed variant, accepted ones first; `releases` is reports/releases.json, where each one stands."""
    metric = summary["variants"][0]["drop"]["metric"] if summary["variants"] else "accuracy"
    table = Table(title=f"{summary['workload']}: what the gate made of each variant", title_justify="left", row_styles=("", "dim"))
    for name, right in (
        ("variant", False),
        ("target", False),
        (metric, True),
        ("drop", True),
        ("size", True),
        ("faster", True),
        ("verdict", False),
    ):
        table.add_column(name, justify="right" if right else "left", no_wrap=not right)
    table.add_column("released", overflow="fold")
    for row in by_merit(summary["variants"]):
        table.add_row(*_cells(row, metric, releases or {}))
    return table


def _cells(row: Mapping[str, Any], metric: str, releases: Mapping[str, str]) -> tuple[Text, ...]:
    quality, speed = row["quality"][metric], row["speed_ratio"]["batch_1"]
    where = releases.get(f"{row['variant']}-{row['target']}", ABSENT)
    return (
        Text(row["variant"]),
        Text(row["target"]),
        Text(f"{percent(quality['value'])} {span(quality['ci'], lambda share: percent(share, 1))}"),
        Text(loss(row["drop"]["value"])),
        Text(f"{size(row['size_bytes'])} ({ratio(row['size_ratio'])})"),
        Text(f"{ratio(speed['value'])} {span(speed['ci'], ratio)}"),
        Text(row["verdict"], style=STYLES[row["verdict"]]),
        Text(where),
    )
