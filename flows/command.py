"""`python -m flows.compress`: the flow on the terminal, with exit codes; no server has to be set up."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer
from prefect import Flow
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from rich.console import Console

from flows.api import NO_ANSWER, RETRIES, reachable
from flows.bisected import Bisected
from flows.budget import seconds_of
from flows.environment import mark_as_parent
from flows.events import Event, Noted, listeners, tell
from flows.options import Options
from flows.processes import own_identity
from flows.results import Outcome
from flows.searched import Searched
from flows.server import complaint, is_healthy, start_temporary_server, started_here, temporary_log
from flows.service_record import running_api_url
from flows.shown import console_of, print_json, show
from flows.signals import Stopped, end_with_wrapper, leave_at_once, listen
from flows.terminal import Screen, Terminal
from flows.workspace import check_overrides
from slimline.commands.advice import warnings
from slimline.commands.bisect import RunA, RunB
from slimline.commands.run import (
    DEFAULT_JOBS,
    AsJson,
    Budget,
    FailFast,
    Force,
    Isolated,
    Jobs,
    NoPublish,
    Overrides,
    ParamsFile,
    Pull,
    Share,
    Targets,
)
from slimline.errors import InputError, SlimlineError
from slimline.params.files import USUAL
from slimline.project import find_project
from slimline.storage.state_file import refusal


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
        share: Share = False,
        budget: Budget = "",
        isolated: Isolated = False,
        params_file: ParamsFile = USUAL,
        json: AsJson = False,
    ) -> None:
        """Run the line. Example: python -m flows.compress --jobs 2 --target 'quantize@*'"""
        on_failure = "fail-fast" if fail_fast else "keep-going"
        rest: dict[str, Any] = {"on_failure": on_failure, "force": force, "publish": not no_publish, "pull": pull, "share": share}
        rest |= {"isolated": isolated, "params_file": params_file}

        def options() -> Options:
            if budget:
                seconds_of(budget)
            return Options(targets=target or [], set_params=pairs(set_ or []), jobs=jobs, budget=budget.strip(), **rest)

        _leave(_ended(options, compress, json=json))

    app()


def search_main(search: Flow[..., Any], options: Callable[[int, dict[str, str]], Any]) -> None:
    """As `main`, for the recipe search; `options` makes its parameters of the jobs and the overrides."""
    end_with_wrapper(os.environ)
    mark_as_parent(os.environ, *own_identity())

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command()
    def command(jobs: Jobs = DEFAULT_JOBS, set_: Overrides = None, json: AsJson = False) -> None:
        """Search. Example: python -m flows.search --set search.minutes=20"""
        _leave(_ended(lambda: options(jobs, pairs(set_ or [])), search, json=json))

    app()


def bisect_main(bisect: Flow[..., Any], options: Callable[[str, str, int], Any]) -> None:
    """As `main`, for the bisection; `options` makes its parameters of the two runs and the jobs."""
    end_with_wrapper(os.environ)
    mark_as_parent(os.environ, *own_identity())

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command()
    def command(run_a: RunA, run_b: RunB, jobs: Jobs = DEFAULT_JOBS, json: AsJson = False) -> None:
        """Bisect. Example: python -m flows.bisect 2026-11-26T0200 2026-11-27T0200"""
        _leave(_ended(lambda: options(run_a, run_b, jobs), bisect, json=json))

    app()


def _leave(exit_code: int) -> None:
    """End the process; without an API Prefect would try for long to send its last events, and the guard closes down what is ours."""
    if reachable():
        sys.exit(exit_code)
    sys.stdout.flush()
    os._exit(exit_code)


def _ended(options: Any, compress: Flow[..., Any], *, json: bool) -> int:
    console = console_of(to_stderr=json)
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
            print_json(outcome)
        show(outcome, console)
    return outcome.exit_code


def _refused(error: SlimlineError) -> int:
    for line in str(error).splitlines():
        Terminal(stderr=True).print(f"error: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    return error.exit_code


def run_flow(compress: Flow[..., Any], options: Any, console: Console) -> Outcome | Searched | Bisected:
    """Check the input before anything is started, then run the flow against a Prefect API and give its outcome.

    Raises:
        SlimlineError: whatever stopped the whole run.
    """
    os.chdir(find_project())
    params = check_overrides(find_project(), getattr(options, "set_params", {}), getattr(options, "params_file", USUAL))
    for line in warnings(params, find_project()):
        Terminal(stderr=True).print(f"warning: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    heard: list[Outcome | Searched | Bisected] = []

    def keep(event: Event) -> None:
        if isinstance(event, Outcome | Searched | Bisected):
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


def _error_of(compress: Flow[..., Any], options: Any) -> SlimlineError | None:
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


def _api_url() -> str:
    """The user's own Prefect, the server of `make up`, or one for this run."""
    given = os.environ.get("PREFECT_API_URL") or running_api_url(find_project())
    return given if given and is_healthy(given) else start_temporary_server(find_project())


class _Notes(logging.Handler):
    """Warnings of slimline's own modules, such as of a file that was set aside, on the screen."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            tell(Noted(record.getMessage()))


def pairs(overrides: list[str]) -> dict[str, str]:
    """Of `--set key=value`."""
    found = {}
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign or not key:
            raise InputError(f"--set {override}: not of the form key=value, e.g. prune.channels50.ratio=0.6")
        found[key.strip()] = value
    return found


def _quiet_prefect() -> None:
    """Prefect's own lines go to its API, where all are kept; the terminal shows the screen instead, and what slimline itself says."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "prefect"]
    handlers = [handler for name in ("", *names) for handler in logging.getLogger(name).handlers]
    for handler in (one for one in handlers if isinstance(one, logging.StreamHandler)):
        handler.setLevel(logging.CRITICAL + 1)
    logging.raiseExceptions = False  # or Prefect tells standard error what it could not send
    logging.getLogger("slimline").addHandler(_Notes())
