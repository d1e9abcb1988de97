"""`slimline send`: give a run to a machine that has what it needs."""

from typing import Annotated

import typer

from slimline.commands.become import become
from slimline.commands.run import DEFAULT_JOBS, AsJson, Force, Jobs, NoPublish, Overrides, ParamsFile, Targets
from slimline.params.files import USUAL

Queue = Annotated[str, typer.Option("--queue", help="gpu, big-memory or default; without it the one that the params need.")]


def send(
    jobs: Jobs = DEFAULT_JOBS,
    set_: Overrides = None,
    target: Targets = None,
    force: Force = False,
    no_publish: NoPublish = False,
    queue: Queue = "",
    json: AsJson = False,
    params_file: ParamsFile = USUAL,
) -> None:
    """Give a run to another machine: of the last commit, in a clone, its stages shared.

    Params that ask for `device: cuda` go to the queue gpu, those with a stage that took more than 16 GiB here to big-memory, all others
    to default. The workers of the queues take them.

    Example: slimline send --params params/table.yaml

    Exit codes: 0 it waits in the queue, 1 there is no server of Prefect, 2 the input is wrong.
    """
    flags = {"--force": force, "--no-publish": no_publish, "--json": json}
    arguments = ["--jobs", str(jobs), "--params", params_file, "--queue", queue, *(flag for flag, given in flags.items() if given)]
    arguments += [part for pair in set_ or [] for part in ("--set", pair)]
    arguments += [part for name in target or [] for part in ("--target", name)]
    become("send", "flows.sending", arguments, hears_signals=False)
