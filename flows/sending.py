"""`python -m flows.sending` (`slimline send`): give a run to whichever machine has what it needs, by the queue of the work pool."""

import json as json_text
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import WorkPool, WorkQueue, WorkQueueStatus
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.api import NO_ANSWER
from flows.command import pairs
from flows.environment import prepare
from flows.options import Options
from flows.queues import QUEUES, Needs, needs_of
from flows.service_record import running_api_url
from flows.services import POOL
from flows.workspace import check_overrides
from slimline.commands.run import DEFAULT_JOBS, AsJson, Force, Jobs, NoPublish, Overrides, ParamsFile, Targets
from slimline.commands.send import Queue
from slimline.errors import InputError, SlimlineError
from slimline.params.files import USUAL
from slimline.project import find_project

DEPLOYMENT = "compress/shared"
GIBIBYTE = 1 << 30


@dataclass(frozen=True)
class Sent:
    """A run that waits in a queue; `is_served` says whether a worker has lately looked there."""

    run: str
    identity: str
    queue: str
    is_served: bool


def send(project: Path, options: Options, queue: str = "") -> Sent:
    """Give a run to the queue that its params need, or to the one that is named.

    Raises:
        ParamsError, InputError: the params are wrong, or there is no such queue.
        SlimlineError: there is no server of Prefect, or it does not know the deployment.
    """
    if queue and queue not in QUEUES:
        raise InputError(f"--queue {queue}: no such queue; there are: {', '.join(QUEUES)}")
    params = check_overrides(project, options.set_params, options.params_file, elsewhere=True)
    needs = needs_of(params, project, options.params_file)
    api_url = _api_url(project)
    try:
        with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
            return _sent(client, options, needs, queue or needs.queue)
    except ObjectNotFound:
        raise SlimlineError(f"Prefect at {api_url} has no deployment {DEPLOYMENT}, or no queues; make up") from None
    except NO_ANSWER as error:
        raise SlimlineError(f"Prefect's API at {api_url} does not take the run: {' '.join(str(error).split())[:200]}") from None


def handed(options: Options, needs: Needs) -> dict[str, Any]:
    """The parameters of a run on another machine: the last commit, in a clone, its stages shared."""
    there = {"isolated": True, "share": True, "memory_gib": -(-needs.memory_bytes // GIBIBYTE)}
    return {"options": options.model_dump(exclude_defaults=True) | there}


def resources(pool: WorkPool, options: Options, needs: Needs) -> dict[str, Any]:
    """What a pool is told of a run's needs, of what its template declares: the memory of so many stages side by side, and a GPU.

    A pool of processes declares neither, that of deploy/kubernetes both.
    """
    memory_gib = -(-needs.memory_bytes // GIBIBYTE) * options.jobs
    asked = ({"memory_gib": memory_gib} if memory_gib else {}) | ({"gpus": 1} if needs.gpu else {})
    declared = pool.base_job_template.get("variables", {}).get("properties", {})
    return {name: value for name, value in asked.items() if name in declared}


def nobody_asks(queue: str) -> str:
    """What there is to do where no worker takes the runs of a queue."""
    return f"no worker asks for the queue {queue}: prefect worker start --pool {POOL} --work-queue {queue}"


def is_served(queue: WorkQueue) -> bool:
    """Whether a worker has asked for its runs within the last minute."""
    return queue.status == WorkQueueStatus.READY


def _sent(client: SyncPrefectClient, options: Options, needs: Needs, queue: str) -> Sent:
    standing = client.read_work_queue_by_name(queue, work_pool_name=POOL)
    deployment = client.read_deployment_by_name(DEPLOYMENT)
    run = client.create_flow_run_from_deployment(
        deployment.id,
        parameters=handed(options, needs),
        work_queue_name=queue,
        job_variables=resources(client.read_work_pool(POOL), options, needs),
    )
    return Sent(run.name, str(run.id), queue, is_served(standing))


def _api_url(project: Path) -> str:
    found = os.environ.get("PREFECT_API_URL") or running_api_url(project)
    if not found:
        raise SlimlineError("no server of Prefect: set PREFECT_API_URL to the one that the workers ask, or start one: make up")
    return found


def main(
    jobs: Jobs = DEFAULT_JOBS,
    set_: Overrides = None,
    target: Targets = None,
    force: Force = False,
    no_publish: NoPublish = False,
    queue: Queue = "",
    params_file: ParamsFile = USUAL,
    json: AsJson = False,
) -> None:
    """Send a run. Example: python -m flows.sending --params params/table.yaml"""
    try:
        rest = {"targets": target or [], "force": force, "publish": not no_publish, "params_file": params_file}
        sent = send(find_project(), Options(set_params=pairs(set_ or []), jobs=jobs, **rest), queue)
    except SlimlineError as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in str(error).splitlines()))
        raise SystemExit(error.exit_code) from None
    if json:
        sys.stdout.write(json_text.dumps(asdict(sent)) + "\n")
        return
    sys.stdout.write(f"{sent.run} waits in the queue {sent.queue}{'' if sent.is_served else f'; {nobody_asks(sent.queue)}'}\n")


if __name__ == "__main__":
    prepare(os.environ)
    typer.run(main)
