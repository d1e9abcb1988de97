"""README's first table: on each workload the best of ours beside the best of the peers, and how many of theirs ours dominate."""

import re
from collections.abc import Sequence
from pathlib import Path

from frontier import BATCHES, Row, aggregated, standing
from results import Results

from slimline.report.numbers import ABSENT, loss, ratio

BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"
FIGURES = ("drop", "smaller", "faster")
COLUMNS = ("workload", "best of ours", *FIGURES, "best of the peers", *FIGURES, "peers' results that ours dominate")
FLOAT = ("teacher", "bf16")


def table(results: Results) -> str:
    """Markdown: a row a workload; the best is what is smaller times faster at batch 1, of what the gate accepts where it accepts any."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|:--|:--|--:|--:|--:|:--|--:|--:|--:|--:|"]
    return "\n".join([*lines, *("| " + " | ".join(_cells(name, aggregated(result["seeds"]))) + " |" for name, result in results.items())])


def _cells(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    ours, peers = ([row for row in rows if row["peer"] is peer and row["variant"] not in FLOAT] for peer in (False, True))
    made = [row for row in peers if "refused" not in row]
    beaten = sum(standing(row, ours).startswith("dominated") for row in made)
    return (name, *_best(ours), *_best(made), f"{beaten} of {len(made)}")


def _best(rows: Sequence[Row]) -> tuple[str, str, str, str]:
    timed = [row for row in rows if BATCHES[0] in row.get("speed_ratio", {})]
    accepted = [row for row in timed if row["verdict"] == "accept"] or timed
    if not accepted:
        return (ABSENT,) * 4
    best = max(accepted, key=lambda row: row["size_ratio"] * _speed(row))
    verdict = "" if best["verdict"] == "accept" else f" ({best['verdict']})"
    what = f"{best['variant']} on {best['target']}{verdict}"
    return what, loss(best["drop"]["value"], best["drop"]["unit"]), ratio(best["size_ratio"]), ratio(_speed(best))


def _speed(row: Row) -> float:
    return float(row["speed_ratio"][BATCHES[0]]["value"])


def block(results: Results, page: str) -> str:
    """What stands between the marks of the README, the marks included."""
    return f"{BEGIN}\n{table(results)}\n\n[All rows, intervals, machines, and who is ahead](benchmarks/results/{page}).\n{END}"


def write(results: Results, page: str, readme: Path) -> None:
    """Put it there."""
    text = readme.read_text(encoding="utf-8")
    marked = f"{re.escape(BEGIN)}.*?{re.escape(END)}"
    readme.write_text(re.sub(marked, lambda _: block(results, page), text, flags=re.DOTALL), encoding="utf-8")
