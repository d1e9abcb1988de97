"""`python -m flows.compress`: the flow on the terminal, with exit codes; no server has to be set up."""

import json as json_format
import logging
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import typer
from prefect import Flow
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from rich.console import Console

from flows.api import NO_ANSWER, RETRIES, reachable
from flows.environment import mark_as_parent
from flows.events import Event, Noted, listeners, tell
from flows.options import Options
from flows.processes import own_identity
from flows.results import Outcome
from flows.server import complaint, is_healthy, start_temporary_server, started_here, temporary_log
from flows.services import running_api_url
from flows.signals import Stopped, end_with_wrapper, leave_at_once, listen
from flows.terminal import Screen, Terminal
from flows.workspace import check_overrides
from slimline.commands.advice import warnings
from slimline.commands.run import DEFAULT_JOBS, AsJson, FailFast, Force, Isolated, Jobs, NoPublish, Overrides, Pull, Targets
from slimline.errors import InputError, SlimlineError
from slimline.project import find_project
from slimline.storage.state_file import refusal

PIPE_COLUMNS = 160


def main(compress: Flow[..., Any]) -> None:
    """Read the flags and run the flow; ends the process with the outcome's exit code."""
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
        _leave(_ended(lambda: Options(targets=target or [], set_params=_pairs(set_ or []), jobs=jobs, **rest), compress, json=json))

    app()


def _leave(exit_code: int) -> None:
    """End the process; without an API Prefect would try for long to send its last events, and the guard closes down what is ours."""
    if reachable():
        sys.exit(exit_code)
    sys.stdout.flush()
    os._exit(exit_code)


def _ended(options: Any, compress: Flow[..., Any], *, json: bool) -> int:
    console = _console(to_stderr=json)
    try:
        listen()
        outcome = run_flow(compress, options(), console)
    except SlimlineError as error:
        return _refused(error)
    except OSError as error:
        return _refused(refusal(error, Path(error.filename or find_project())))
    except Stopped as stopped:
        Terminal(stderr=True).print(f"stopped by {stopped}; finished stages are kept, the next run goes on from here")
        return stopped.exit_code
    finally:
        leave_at_once()
    with suppress(OSError):  # nobody reads any more, and the run is over
        if json:
            sys.stdout.write(json_format.dumps(outcome.as_json(), indent=2) + "\n")
            sys.stdout.flush()
        show(outcome, console)
    return outcome.exit_code


def _refused(error: SlimlineError) -> int:
    for line in str(error).splitlines():
        Terminal(stderr=True).print(f"error: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    return error.exit_code


def run_flow(compress: Flow[..., Any], options: Options, console: Console) -> Outcome:
    """Check the input before anything is started, then run the flow against a Prefect API and give its outcome.

    Raises:
        SlimlineError: whatever stopped the whole run.
    """
    os.chdir(find_project())
    params = check_overrides(find_project(), options.set_params)
    for line in warnings(params, find_project()):
        Terminal(stderr=True).print(f"warning: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    heard: list[Outcome] = []

    def keep(event: Event) -> None:
        if isinstance(event, Outcome):
            heard.append(event)

    _quiet_prefect()
    with Screen(console):
        listeners.append(keep)
        try:
            error = _error_of(compress, options)
        finally:
            listeners.remove(keep)
    if heard:  # also where no API was left at the end that could have been told of it
        return heard[0]
    raise error or SlimlineError("the flow ended without an outcome")


def _error_of(compress: Flow[..., Any], options: Options) -> SlimlineError | None:
    """Run the flow; what stopped the whole of it, if anything did."""
    api_url = _api_url()
    with temporary_settings({PREFECT_API_URL: api_url, PREFECT_CLIENT_MAX_RETRIES: RETRIES}):
        try:
            state = compress(options, return_state=True)
        except NO_ANSWER as error:
            why = complaint(temporary_log(find_project())) if api_url in started_here else "start it anew, or unset PREFECT_API_URL"
            return SlimlineError(f"Prefect's API at {api_url} does not answer ({' '.join(str(error).split())[:100]}): {why}")
    if state.is_completed():
        return None
    error = None if state.data is None else state.result(raise_on_failure=False)
    return error if isinstance(error, SlimlineError) else SlimlineError(f"the flow ended {state.name}: {state.message}")


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
    console = Terminal(stderr=to_stderr)
    return console if console.is_terminal else Terminal(stderr=to_stderr, width=max(console.width, PIPE_COLUMNS))


def _api_url() -> str:
    """The user's own Prefect, the server of `make up`, or one for this run."""
    given = os.environ.get("PREFECT_API_URL") or running_api_url(find_project())
    return given if given and is_healthy(given) else start_temporary_server(find_project())


class _Notes(logging.Handler):
    """Warnings of slimline's own modules, such as of a file that was set aside, on the screen."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            tell(Noted(record.getMessage()))


def _pairs(overrides: list[str]) -> dict[str, str]:
    pairs = {}
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign or not key:
            raise InputError(f"--set {override}: not of the form key=value, e.g. prune.channels50.ratio=0.6")
        pairs[key.strip()] = value
    return pairs


def _quiet_prefect() -> None:
    """Prefect's own lines go to its API, where all are kept; the terminal shows the screen instead, and what slimline itself says."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "prefect"]
    handlers = [handler for name in ("", *names) for handler in logging.getLogger(name).handlers]
    for handler in (one for one in handlers if isinstance(one, logging.StreamHandler)):
        handler.setLevel(logging.CRITICAL + 1)
    logging.raiseExceptions = False  # or Prefect tells standard error what it could not send
    logging.getLogger("slimline").addHandler(_Notes())
