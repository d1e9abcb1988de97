"""The flow of a night: a list of params files, each run in a clone of its own and saved as a DVC experiment; one that fails stops no other.

What this machine has not (a GPU, the memory) another may have: such a run is given to its queue, and the night waits for its end, but no
longer than `options.wait_hours` after its own beginning: a machine that is gone costs one night its run, and no other night.

prefect.yaml holds the list: deployment `nightly`, `options.runs`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.states import Cancelling, Completed, Failed
from pydantic import BaseModel, ConfigDict, Field

from flows import engine
from flows.api import NO_ANSWER, attempt
from flows.compress import compress
from flows.events import Event, listeners
from flows.options import Budget, Options, Share
from flows.queues import Needs, lacking, needs_of
from flows.results import Outcome
from flows.sending import DEPLOYMENT, handed, is_served, nobody_asks, resources
from flows.services import POOL
from flows.workspace import check_overrides
from slimline.errors import SlimlineError
from slimline.params.files import USUAL
from slimline.project import find_project

WAIT_HOURS = 20.0
"""Below a day: the next night begins when this one has ended."""
LATE = "not ended when the night had waited options.wait_hours; its worker may be gone"


class NightlyOptions(BaseModel):
    """What a night runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: list[str] = Field(
        default_factory=lambda: [USUAL],
        min_length=1,
        description="Params files, one run each, in this order.",
    )
    jobs: int = Field(default=2, ge=1, le=64, description="How many stages of a run go side by side.")
    publish: bool = Field(default=True, description="Release what passed the gate to S3, and push the results for other machines.")
    pull: bool = Field(default=False, description="First fetch from the DVC remote what other machines have computed.")
    budget: Budget = Field(
        default="", description="Of each run, such as 2h: what cannot be judged within it is not begun. Empty: no bound."
    )
    share: Share = False
    wait_hours: float = Field(
        default=WAIT_HOURS,
        gt=0,
        le=1000,
        description="So long after its beginning a night waits for runs on other machines.",
    )


@flow(name="nightly", persist_result=False)
def nightly(options: NightlyOptions = NightlyOptions()) -> Any:  # noqa: B008 - a frozen model, and Prefect shows its defaults in the form
    """Run every file of the list, and end Failed with a table where one of them did."""
    rows: list[dict[str, str]] = []
    waits_until = time.monotonic() + options.wait_hours * 3600
    for file in options.runs:
        if engine.STOPPING.is_set():
            break
        rows.append(row_of(file, options, waits_until))
    attempt(lambda: create_table_artifact(key="nightly", table=rows, description="The runs of this night"))
    failed = [row["run"] for row in rows if row["state"] != "Completed"] + options.runs[len(rows) :]
    message = f"{len(options.runs) - len(failed)} of {len(options.runs)} runs completed"
    return Failed(message=f"{message}; not: {', '.join(failed)}") if failed else Completed(message=message)


def row_of(file: str, options: NightlyOptions, waits_until: float) -> dict[str, str]:
    """One run, as a flow run below this one, here or on a machine of its queue; its line of the table, whatever became of it.

    For another machine it is waited until `waits_until` (monotonic seconds).
    """
    same = options.model_dump(include={"jobs", "publish", "pull", "budget", "share"})
    asked = Options(params_file=file, isolated=True, **same)
    if (needs := needs_of_another(file)) is not None:
        return row_from_elsewhere(asked, needs, max(0.0, waits_until - time.monotonic()))
    with outcomes() as heard:
        state = compress(asked, return_state=True)
    outcome = heard[0] if heard else None
    experiment, seconds = (outcome.experiment or "", f"{outcome.seconds:.0f}") if outcome else ("", "")
    return {"run": file, "state": state.name or "", "experiment": experiment, "seconds": seconds, "what": state.message or ""}


def needs_of_another(file: str) -> Needs | None:
    """What this machine lacks for a run; None where it lacks nothing, or where the file is wrong, which the run itself says."""
    try:
        needs = needs_of(check_overrides(find_project(), {}, file, elsewhere=True), find_project(), file)
    except SlimlineError:
        return None
    return needs if any(lacking(needs, file)) else None


def row_from_elsewhere(asked: Options, needs: Needs, wait_s: float) -> dict[str, str]:
    """The line of a run on a machine of its queue. Where no worker asks for the queue nobody is waited for, nor where Prefect refuses."""
    row = {"run": asked.params_file, "state": "NotSent", "experiment": "", "seconds": ""}
    try:
        with get_client(sync_client=True) as client:
            if not is_served(client.read_work_queue_by_name(needs.queue, work_pool_name=POOL)):
                return row | {"what": nobody_asks(needs.queue)}
            asks = resources(client.read_work_pool(POOL), asked, needs)
        return row | ended_elsewhere(handed(asked, needs), needs.queue, asks, wait_s)
    except NO_ANSWER as error:
        return row | {"what": f"Prefect refuses the run for the queue {needs.queue}, make up: {' '.join(str(error).split())[:200]}"}


def ended_elsewhere(parameters: dict[str, Any], queue: str, asks: dict[str, Any], wait_s: float) -> dict[str, str]:
    """How a run on another machine ended; one that does not in time is cancelled, so that the next night can begin."""
    run = run_deployment(DEPLOYMENT, parameters=parameters, work_queue_name=queue, job_variables=asks, timeout=wait_s)
    seconds = f"{run.total_run_time.total_seconds():.0f}"
    if run.state is None or not run.state.is_final():
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Cancelling(message=LATE))
        return {"state": "Late", "seconds": seconds, "what": LATE}
    return {"state": run.state_name or "", "seconds": seconds, "what": run.state.message or ""}


@contextmanager
def outcomes() -> Iterator[list[Outcome]]:
    """What the runs of the block tell as their outcomes."""
    heard: list[Outcome] = []

    def keep(event: Event) -> None:
        if isinstance(event, Outcome):
            heard.append(event)

    listeners.append(keep)
    try:
        yield heard
    finally:
        listeners.remove(keep)
