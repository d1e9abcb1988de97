"""`slimline search`: become the flow that looks for the best chain of methods."""

from slimline.commands.become import become
from slimline.commands.run import DEFAULT_JOBS, AsJson, Jobs, Overrides


def search(jobs: Jobs = DEFAULT_JOBS, set_: Overrides = None, json: AsJson = False) -> None:
    """Look for the best chain of methods, as the section `search` of params.yaml says; only the frontier is judged on test.

    Stopped or killed, it goes on where it was when it is called again. The project is not touched: the page and the entries to paste
    are below .slimline/search.

    Example: slimline search --set search.minutes=30

    Exit codes: 0 something passed the gate, 1 something failed, 2 the input is wrong, 3 nothing passed the gate.
    """
    arguments = ["--jobs", str(jobs), *(["--json"] if json else [])]
    arguments += [part for pair in set_ or [] for part in ("--set", pair)]
    become("search", "flows.search", arguments)
