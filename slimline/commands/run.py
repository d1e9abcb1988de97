"""`slimline run`: become the flow of the project around this folder."""

import os
import signal
import sys
from typing import Annotated

import typer

from slimline.errors import InputError
from slimline.project import find_project

Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="How many stages run side by side.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", "-S", metavar="KEY=VALUE", help="Override params.yaml; the run then works in a clone.")
]
Targets = Annotated[list[str] | None, typer.Option("--target", "-t", metavar="STAGE", help="A stage or glob; its ancestors run too.")]
Force = Annotated[bool, typer.Option("--force", help="Run every stage again, also those that are up to date.")]
NoPublish = Annotated[bool, typer.Option("--no-publish", help="Release nothing and push nothing.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Start nothing more after a failed stage.")]
Pull = Annotated[bool, typer.Option("--pull", help="First fetch from the DVC remote what other machines have computed.")]
Isolated = Annotated[bool, typer.Option("--isolated", help="Work on the last commit, in a clone, saved as a DVC experiment.")]
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
    isolated: Isolated = False,
    json: AsJson = False,
) -> None:
    """Run the line: every stage that is not up to date, then release what passed the gate.

    Example: slimline run --target 'quantize@*' --set quantize.int8.observer=entropy

    Exit codes: 0 all well, 1 something failed, 2 the input is wrong, 3 nothing passed the gate.
    """
    project = find_project()
    if not (project / "flows/compress.py").is_file():
        raise InputError(f"{project}: no flows/compress.py; `slimline run` works in a clone of the Slimline project, or use `dvc repro`")
    flags = {"--force": force, "--no-publish": no_publish, "--fail-fast": fail_fast, "--pull": pull, "--isolated": isolated, "--json": json}
    arguments = ["--jobs", str(jobs), *(flag for flag, given in flags.items() if given)]
    arguments += [part for pair in set_ or [] for part in ("--set", pair)]
    arguments += [part for name in target or [] for part in ("--target", name)]
    os.chdir(project)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))  # until the flow listens for them
    os.execv(sys.executable, [sys.executable, "-m", "flows.compress", *arguments])  # one process: whatever ends it ends the flow
