"""What Prefect's server has to know: the work pool, the deployments of prefect.yaml, and an automation for runs whose process died."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled

from flows.environment import PROJECT
from slimline.errors import SlimlineError

ZOMBIES = "crash zombie flow runs"
SILENCE_SECONDS = 90
UNFINISHED = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]


def register(project: Path, api_url: str, pool: str) -> None:
    """Create or update all of it; may be repeated.

    Raises:
        SlimlineError: Prefect refuses, for example because prefect.yaml is wrong.
    """
    with temporary_settings({PREFECT_API_URL: api_url}):
        with get_client(sync_client=True) as client:
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"), overwrite=True)
        watch_for_zombies()
    _prefect(project, api_url, "--no-prompt", "deploy", "--all", "--prefect-file", "prefect.yaml")


def watch_for_zombies() -> None:
    """A run whose process and worker both died says nothing any more: after 90 s without a heartbeat the server calls it Crashed."""
    with get_client(sync_client=True) as client:
        if client.read_automations_by_name(ZOMBIES):
            return
    beat = "prefect.flow-run.heartbeat"
    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
    trigger = EventTrigger(
        after={beat},
        expect={beat, *ends},
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=SILENCE_SECONDS),
    )
    silence = ChangeFlowRunState(state=StateType.CRASHED, message=f"no heartbeat for {SILENCE_SECONDS} s")
    Automation(name=ZOMBIES, trigger=trigger, actions=[silence]).create()


def settle_runs(api_url: str, pool: str) -> None:
    """Cancel the runs that a stopped worker leaves Running for ever, so that they keep no concurrency slot."""
    unfinished = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)))
    of_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=unfinished, work_pool_filter=of_pool):
            client.set_flow_run_state(run.id, Cancelled(message="the services were stopped"), force=True)


def _prefect(project: Path, api_url: str, *arguments: str) -> None:
    environment = {**os.environ, "PREFECT_API_URL": api_url, PROJECT: str(project)}
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SlimlineError(f"prefect {' '.join(arguments)}: {' '.join((done.stderr + done.stdout).split())[-400:]}")
