"""`slimline bisect`: become the flow that finds where a change between two runs comes from."""

from typing import Annotated

import typer

from slimline.commands.become import become
from slimline.commands.run import DEFAULT_JOBS, AsJson, Jobs

RunA = Annotated[str, typer.Argument(help="The earlier run, as `slimline history` names it, or the beginning of its name.")]
RunB = Annotated[str, typer.Argument(help="The later run.")]


def bisect(run_a: RunA, run_b: RunB, jobs: Jobs = DEFAULT_JOBS, json: AsJson = False) -> None:
    """Decide where the changes between two runs come from: code, parameters, or what cannot be swapped here (libraries, machine).

    Each run that is needed for it works in a clone, on the variants that changed; the project and the store are not touched.

    Example: slimline bisect 2026-11-26T020003-1f2e3d4c 2026-11-27T020004

    Exit codes: 0 every change has its cause, 1 one is undecided since a run could not be made, 2 the input is wrong.
    """
    become("bisect", "flows.bisect", ["--jobs", str(jobs), *(["--json"] if json else []), "--", run_a, run_b])
