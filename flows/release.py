"""What comes after a run's stages: releases of what passed, results for other machines, and the memory of the run."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from flows.environment import added
from flows.events import Noted, tell
from flows.guard import guard
from flows.heal import snapshot
from flows.memory import remember
from flows.one_run import Run, note
from flows.results import RELEASES, Outcome, read_json
from flows.room import tell_of_room
from flows.schedule import failure_code
from flows.stages import run_upload
from slimline.errors import SlimlineError
from slimline.nights.night import night_of
from slimline.params import params_sha256
from slimline.params.files import USUAL
from slimline.report.provenance import STARTED, run_facts

REPORT = "report"


def released(run: Run, outcome: Outcome) -> Outcome:
    """The outcome with what was released of it, if the run is to publish and something passed; DVC's state is kept first."""
    snapshot(run.folder)
    return _publish(run, outcome) if run.options.publish and outcome.accepted else outcome


def _publish(run: Run, outcome: Outcome) -> Outcome:
    """Release what passed, then push the results and the run cache, so that no machine computes them again."""
    failures = dict(outcome.failures)
    with store(run):
        code = _upload(run, "publish", ["-m", "tasks.publish"])
        if not code and outcome.remote is not None:
            code = _upload(run, "push", ["-m", "dvc", "--wait-for-lock", "push", "--run-cache"])
            failures |= {"push": code} if code else {}
        elif code:
            failures["publish"] = code
    return replace(outcome, failures=failures, releases=read_json(run.folder / RELEASES))


def _upload(run: Run, name: str, arguments: list[str]) -> int:
    return failure_code(run_upload(name, str(run.folder), arguments, return_state=True)) or 0


@contextmanager
def store(run: Run) -> Iterator[None]:
    """The S3 store's address and keys in the environment: the embedded server's where the user has set none."""
    from slimline.storage.server import store_environment

    with guard().store(run.project), store_environment(run.project, run.params.publish) as environment, added(environment):
        yield


def remember_run(run: Run, outcome: Outcome) -> None:
    """Keep what this run came to; a store that says no costs a later comparison, and not this run."""
    try:
        night = night_of(summary_now(run, outcome), run.folder, run.options.params_file)
        with store(run):
            note(remember(night, run.project, run.folder, run.params.publish), "regression: ")
            note(tell_of_room(run.project, run.params.publish), "nearly full: ")
    except SlimlineError as error:
        tell(Noted(f"not remembered: {error}"))


def summary_now(run: Run, outcome: Outcome) -> Mapping[str, Any]:
    """The summary of this run: of one that DVC took from its cache, start and code are those of the run that first made it."""
    found = outcome.summary or {}
    if outcome.states.get(REPORT) != "Restored":
        return found
    with added({STARTED: str(time.time() - (time.monotonic() - run.began))}):
        facts = run_facts(run.folder, params_sha256(run.folder / USUAL))
    return {**found, "run": {**found.get("run", {}), **facts}}
