"""`slimline run`: become the flow of the project around this folder."""

import os
from typing import Annotated

import typer

from slimline.commands.become import become
from slimline.commands.completion import stages
from slimline.params.files import USUAL

Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="How many stages run side by side.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", "-S", metavar="KEY=VALUE", help="Override params.yaml; the run then works in a clone.")
]
Targets = Annotated[
    list[str] | None, typer.Option("--target", "-t", metavar="STAGE", help="A stage or glob; its ancestors run too.", autocompletion=stages)
]
Force = Annotated[bool, typer.Option("--force", help="Run every stage again, also those that are up to date.")]
NoPublish = Annotated[bool, typer.Option("--no-publish", help="Release nothing and push nothing.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Start nothing more after a failed stage.")]
Pull = Annotated[bool, typer.Option("--pull", help="First fetch from the DVC remote what other machines have computed.")]
Share = Annotated[
    bool, typer.Option("--share", help="Compute no stage that another machine computes or has computed: leases and results in the store.")
]
Budget = Annotated[
    str, typer.Option("--budget", metavar="SPAN", help="Begin nothing that cannot be judged within 2h, 90m or 1h30m; release what stands.")
]
Isolated = Annotated[bool, typer.Option("--isolated", help="Work on the last commit, in a clone, saved as a DVC experiment.")]
ParamsFile = Annotated[
    str, typer.Option("--params", "-p", metavar="FILE", help="A whole run of its own, e.g. params/table.yaml; it works in a clone.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON on standard output, progress on standard error.")]
DEFAULT_JOBS = min(64, max(1, os.cpu_count() or 1))


def run(
    jobs: Jobs = DEFAULT_JOBS,
    set_: Overrides = None,
    target: Targets = None,
    force: Force = False,
    no_publish: NoPublish = False,
    fail_fast: FailFast = False,
    pull: Pull = False,
    share: Share = False,
    budget: Budget = "",
    isolated: Isolated = False,
    json: AsJson = False,
    params_file: ParamsFile = USUAL,
) -> None:
    """Run the line: every stage that is not up to date, then release what passed the gate.

    Example: slimline run --target 'quantize@*' --set quantize.int8.observer=entropy, or slimline run --params params/table.yaml

    Exit codes: 0 all well, 1 something failed, 2 the input is wrong, 3 nothing passed the gate.
    """
    flags = {"--force": force, "--no-publish": no_publish, "--fail-fast": fail_fast, "--pull": pull, "--share": share}
    flags |= {"--isolated": isolated, "--json": json}
    other = [] if params_file == USUAL else ["--params", params_file]
    other += ["--budget", budget] if budget else []
    arguments = ["--jobs", str(jobs), *other, *(flag for flag, given in flags.items() if given)]
    arguments += [part for pair in set_ or [] for part in ("--set", pair)]
    arguments += [part for name in target or [] for part in ("--target", name)]
    become("run", "flows.unchanged", arguments)
