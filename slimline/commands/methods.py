"""`slimline methods`: every compression method, what it is like and when to use it."""

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from slimline.params import CONFIGS


def methods(as_json: Annotated[bool, typer.Option("--json", help="Print the table for a machine.")] = False) -> None:
    """List the methods by stage, with what they need and a one-line judgement.

    Example: `slimline methods`
    """
    rows = [
        {
            "stage": stage,
            "method": name,
            "needs_data": config.needs_data,
            "changes_shape": config.changes_shape,
            "may_follow": sorted(config.may_follow),
            "judgement": config.judgement,
        }
        for stage, configs in CONFIGS.items()
        for name, config in configs.items()
    ]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    table = Table("stage", "method", "data", "shapes", "when to use it")
    for row in rows:
        data = "needs" if row["needs_data"] else "none"
        table.add_row(str(row["stage"]), str(row["method"]), data, "change" if row["changes_shape"] else "stay", str(row["judgement"]))
    Console().print(table)
