"""A night on what Prefect does not take, which ends of it are told, and what is remembered of it."""

import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed
from pydantic import ValidationError

from flows.automations import alerts
from flows.deployments import make_queues
from flows.nightly import LATE, NightlyOptions, row_from_elsewhere, row_of
from flows.one_run import Run
from flows.options import Options
from flows.queues import GPU, Needs
from flows.release import summary_now
from flows.results import Outcome
from flows.services import POOL
from slimline.params import Params


def test_a_queue_that_prefect_does_not_know_is_a_row_of_the_night(api):
    with temporary_settings({PREFECT_API_URL: api}):
        row = row_from_elsewhere(Options(params_file="params/gpu.yaml"), Needs(gpu=("teacher.device: cuda",)), 5.0)
    assert (row["run"], row["state"]) == ("params/gpu.yaml", "NotSent")
    assert row["what"].startswith("Prefect refuses the run for the queue gpu, make up: ")


@pytest.fixture
def client(api):
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def pool(client):
    """A pool whose queue a worker has just asked for runs, and that no worker serves any more."""
    client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    make_queues(client, POOL)
    client.get_scheduled_flow_runs_for_work_pool(POOL, [GPU])
    yield POOL
    client.delete_work_pool(POOL)


def test_a_worker_that_died_before_it_took_the_run_is_waited_for_as_long_as_said(client, pool):
    @flow(name="compress")
    def compress(options: dict) -> None:
        """Never run."""

    deployment = client.create_deployment(client.create_flow(compress), "shared", work_pool_name=pool, work_queue_name=GPU)
    row = row_from_elsewhere(Options(params_file="params/gpu.yaml"), Needs(gpu=("teacher.device: cuda",)), 0.5)
    assert (row["state"], row["what"]) == ("Late", LATE)
    [sent] = client.read_flow_runs(flow_run_filter=FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment])))
    assert sent.state_name in ("Cancelling", "Cancelled")


def test_a_runs_budget_and_its_sharing_are_those_of_the_night(api, monkeypatch):
    asked = []
    monkeypatch.setattr("flows.nightly.compress", lambda options, **_: asked.append(options) or Completed())
    row_of("params.yaml", NightlyOptions(budget="2h", share=True, jobs=3), 0.0)
    [options] = asked
    assert (options.budget, options.share, options.jobs, options.isolated) == ("2h", True, 3, True)
    with pytest.raises(ValidationError, match="budget"):
        NightlyOptions(budget="two hours")


@pytest.mark.parametrize("flow_name", ["compress", "nightly"])
@pytest.mark.parametrize("state", ["Failed", "Crashed"])
def test_a_run_and_a_night_that_fail_are_told(flow_name, state):
    [told] = [alert for alert in alerts() if alert.title == "a run failed"]
    trigger = EventTrigger.model_validate(told.trigger.model_dump(mode="json") | {"id": uuid4()})
    of_flow = {"prefect.resource.id": "prefect.flow.1", "prefect.resource.role": "flow", "prefect.resource.name": flow_name}
    event = ReceivedEvent(
        occurred=datetime.now(tz=UTC),
        event=f"prefect.flow-run.{state}",
        resource={"prefect.resource.id": f"prefect.flow-run.{uuid4()}"},
        related=[of_flow],
        id=uuid4(),
    )
    assert trigger.covers(event)
    assert trigger.expects(event.event)


def test_a_report_from_the_cache_is_remembered_as_of_the_run_that_took_it(tmp_path):
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    earlier = {"started": "2026-01-01T00:00:00+00:00", "seconds": 1.0, "git": "a" * 40, "git_dirty": False, "machine": {"cpu": "x"}}
    run = Run(tmp_path, tmp_path, Options(), Params.model_construct(), time.monotonic() - 30)
    for state, is_now in (("Completed", False), ("Cached", False), ("Restored", True)):
        found = summary_now(run, Outcome(tmp_path, 30.0, states={"report": state}, summary={"workload": "digits", "run": earlier}))
        assert (found["run"]["started"] != earlier["started"], found["run"]["git"] is None) == (is_now, is_now)
        assert found["run"]["machine"] == {"cpu": "x"}
    assert found["run"]["seconds"] == pytest.approx(30, abs=5)
