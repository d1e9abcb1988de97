"""`slimline workloads`: the workloads that params.yaml can name."""

import json
import sys
from typing import Annotated

import typer

from slimline.workloads import BUNDLED, known_workloads


def workloads(as_json: Annotated[bool, typer.Option("--json", help="Print {name: where} for a machine.")] = False) -> None:
    """List the workloads: bundled ones and those of installed packages.

    Example: `slimline workloads`
    """
    known = known_workloads()
    if as_json:
        sys.stdout.write(json.dumps(known, indent=2, sort_keys=True) + "\n")
        return
    for name, where in sorted(known.items()):
        sys.stdout.write(f"{name:12} {'bundled' if name in BUNDLED else 'installed':10} {where}\n")
    sys.stdout.write("your own:    path/to/file.py:ClassName; docs/add-a-workload.md shows how\n")
