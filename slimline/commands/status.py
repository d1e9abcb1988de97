"""`slimline status`: become the screen of the project around this folder."""

from typing import Annotated

import typer

from slimline.commands.become import become

Once = Annotated[bool, typer.Option("--once", help="Show it once and end, as it does where there is no terminal.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print it once, as JSON on standard output.")]


def status(once: Once = False, json: AsJson = False) -> None:
    """Services, the next scheduled runs, what runs now and how long still, the last verdicts: one live screen, until Ctrl-C.

    Example: slimline status --once
    """
    flags = {"--once": once, "--json": json}
    become("status", "flows.status", [flag for flag, given in flags.items() if given], hears_signals=False)
