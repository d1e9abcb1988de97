"""The table that ends a run on the console; it fits 80 columns."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from slimline.report.listing import two_lines
from slimline.report.numbers import loss, quantity, ratio, size
from slimline.report.summary import by_merit, measured

STYLES = {"accept": "bold green", "reject": "bold red", "inconclusive": "bold yellow"}


def results_table(summary: Mapping[str, Any], releases: Mapping[str, str] | None = None) -> Table:
    """Two lines a deployed variant, accepted ones first; `releases` is reports/releases.json: where each one stands.

    Below a figure stands its interval, below a size its ratio, below a verdict the release's id; the caption says in which folder.
    """
    metric = next((row["drop"]["metric"] for row in measured(summary["variants"])), "quality")
    style: dict[str, Any] = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "padding": 0}
    table = Table(title=f"{summary['workload']}: what the gate made of each variant", title_justify="left", caption_justify="left", **style)
    table.add_column("variant", no_wrap=True)
    for name in (metric, "drop", "size", "faster"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in by_merit(summary["variants"]):
        table.add_row(*_cells(row, metric, releases or {}))
    folders = sorted({f"{url.rstrip('/').rpartition('/')[0]}/" for url in (releases or {}).values()})
    table.caption = f"Released below {', '.join(folders)}" if folders else "Nothing is released."
    return table


def _cells(row: Mapping[str, Any], metric: str, releases: Mapping[str, str]) -> tuple[Text, ...]:
    if row.get("missed") is not None:
        return (
            two_lines(row["variant"], row["target"]),
            *[Text("–")] * 4,
            Text(row["verdict"], style=STYLES[row["verdict"]]).append("\nnot made"),
        )
    quality, speed, unit = row["quality"][metric], row["speed_ratio"]["batch_1"], row["drop"]["unit"]
    shown = 100 if unit == "fraction" else 1
    url = releases.get(f"{row['variant']}-{row['target']}", "")
    return (
        two_lines(row["variant"], row["target"]),
        two_lines(quantity(quality["value"], unit), _interval([shown * end for end in quality["ci"]])),
        two_lines(loss(row["drop"]["value"], unit), ""),
        two_lines(size(row["size_bytes"]), ratio(row["size_ratio"])),
        two_lines(ratio(speed["value"]), _interval(speed["ci"])),
        Text(row["verdict"], style=STYLES[row["verdict"]]).append(f"\n{PurePosixPath(url).name if url else ''}", style="not bold dim"),
    )


def _interval(ends: Sequence[float]) -> str:
    return f"[{ends[0]:.3g}, {ends[1]:.3g}]"
