"""What Prefect's server has to know: the work pool, the deployments of prefect.yaml, and its automations."""

import os
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled

from flows.automations import alerts, register_alerts, watch_for_zombies
from flows.environment import PROJECT
from flows.queues import QUEUES
from slimline.errors import SlimlineError

UNFINISHED = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]


def register(api_url: str, pool: str, alerts_url: str) -> None:
    """Create or update the work pool and the automations; may be repeated. Alerts go to `alerts_url`."""
    with temporary_settings({PREFECT_API_URL: api_url}):
        with get_client(sync_client=True) as client:
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"), overwrite=True)
            make_queues(client, pool)
        watch_for_zombies()
        register_alerts(alerts_url, alerts())


def deploy(project: Path, api_url: str) -> None:
    """Create the deployments, or update them to what prefect.yaml says now.

    Raises:
        SlimlineError: Prefect refuses, for example because prefect.yaml is wrong.
    """
    _prefect(project, api_url, "--no-prompt", "deploy", "--all", "--prefect-file", "prefect.yaml")


def make_queues(client: SyncPrefectClient, pool: str) -> None:
    """The queues of a work pool, with their priorities; those of others are left alone."""
    standing = {queue.name: queue for queue in client.read_work_queues(work_pool_name=pool)}
    for name, priority in QUEUES.items():
        if name not in standing:
            client.create_work_queue(name, priority=priority, work_pool_name=pool)
        elif standing[name].priority != priority:
            client.update_work_queue(standing[name].id, priority=priority)


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
