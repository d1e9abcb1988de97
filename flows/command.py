"""`python -m flows.compress`: the flow on the terminal, with exit codes; no server has to be set up."""

import json as json_format
import logging
import os
import sys
import time
from typing import Any

import psutil
import typer
from prefect import Flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from rich.console import Console

from flows.environment import mark_as_parent
from flows.events import Event, listeners
from flows.options import Options
from flows.processes import own_identity
from flows.results import Outcome
from flows.server import is_healthy, start_temporary_server
from flows.services import running_api_url
from flows.signals import Stopped, end_with_wrapper, leave_at_once, listen
from flows.terminal import Screen
from flows.workspace import check_overrides
from slimline.commands.advice import warnings
from slimline.commands.run import DEFAULT_JOBS, AsJson, FailFast, Force, Isolated, Jobs, NoPublish, Overrides, Pull, Targets
from slimline.errors import InputError, SlimlineError
from slimline.project import find_project

PIPE_COLUMNS = 160


def main(compress: Flow[..., Any]) -> None:
    """Read the flags and run the flow; ends the process with the outcome's exit code."""
    listen()
    end_with_wrapper(os.environ)
    mark_as_parent(os.environ, *own_identity())

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command()
    def command(
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
        """Run the line. Example: python -m flows.compress --jobs 2 --target 'quantize@*'"""
        on_failure = "fail-fast" if fail_fast else "keep-going"
        rest: dict[str, Any] = {"on_failure": on_failure, "force": force, "publish": not no_publish, "pull": pull, "isolated": isolated}
        sys.exit(_ended(lambda: Options(targets=target or [], set_params=_pairs(set_ or []), jobs=jobs, **rest), compress, json=json))

    app()


def _ended(options: Any, compress: Flow[..., Any], *, json: bool) -> int:
    console = _console(to_stderr=json)
    try:
        outcome = run_flow(compress, options(), console)
    except SlimlineError as error:
        for line in str(error).splitlines():
            Console(stderr=True).print(f"error: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    except Stopped as stopped:
        leave_at_once(stopped.exit_code)
        Console(stderr=True).print(f"stopped by {stopped}; finished stages are kept, the next run goes on from here")
        return stopped.exit_code
    if json:
        sys.stdout.write(json_format.dumps(outcome.as_json(), indent=2) + "\n")
    show(outcome, console)
    return outcome.exit_code


def run_flow(compress: Flow[..., Any], options: Options, console: Console) -> Outcome:
    """Check the input before anything is started, then run the flow against a Prefect API and give its outcome.

    Raises:
        SlimlineError: whatever stopped the whole run.
    """
    os.chdir(find_project())
    params = check_overrides(find_project(), options.set_params)
    for line in warnings(params, find_project()):
        Console(stderr=True).print(f"warning: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    heard: list[Outcome] = []

    def keep(event: Event) -> None:
        if isinstance(event, Outcome):
            heard.append(event)

    _quiet_prefect()
    with Screen(console), temporary_settings({PREFECT_API_URL: _api_url()}):
        listeners.append(keep)
        try:
            state = compress(options, return_state=True)
        finally:
            listeners.remove(keep)
    if heard:
        return heard[0]
    error = state.result(raise_on_failure=False)
    raise error if isinstance(error, SlimlineError) else SlimlineError(f"the flow ended {state.name}: {state.message}")


def show(outcome: Outcome, console: Console) -> None:
    """The table of results, what failed, where the report is, and how long it took."""
    if outcome.summary is not None:
        from slimline.report.console import results_table

        console.print(results_table(dict(outcome.summary), dict(outcome.releases) if outcome.releases else None))
    console.print(outcome.message, style="red" if outcome.exit_code else "green")
    if outcome.experiment:
        console.print(f"saved as experiment {outcome.experiment}: dvc exp apply {outcome.experiment}")
    if outcome.summary is not None:
        console.print(f"report: {outcome.index}", soft_wrap=True)
    console.print(f"{time.time() - psutil.Process().create_time():.1f} s")


def _console(*, to_stderr: bool) -> Console:
    """The terminal as wide as it is; a log or a pipe wide enough for the table."""
    console = Console(stderr=to_stderr)
    return console if console.is_terminal else Console(stderr=to_stderr, width=max(console.width, PIPE_COLUMNS))


def _api_url() -> str:
    """The user's own Prefect, the server of `make up`, or one for this run."""
    given = os.environ.get("PREFECT_API_URL") or running_api_url(find_project())
    return given if given and is_healthy(given) else start_temporary_server(find_project())


def _pairs(overrides: list[str]) -> dict[str, str]:
    pairs = {}
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign or not key:
            raise InputError(f"--set {override}: not of the form key=value, e.g. prune.channels50.ratio=0.6")
        pairs[key.strip()] = value
    return pairs


def _quiet_prefect() -> None:
    """Prefect's own lines go to its API, where all are kept; the terminal shows the screen instead."""
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.CRITICAL + 1)
