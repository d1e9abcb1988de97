"""A night on what Prefect does not take, and which ends of it are told."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.automations import alerts
from flows.nightly import row_from_elsewhere
from flows.options import Options
from flows.queues import Needs


def test_a_queue_that_prefect_does_not_know_is_a_row_of_the_night(api):
    with temporary_settings({PREFECT_API_URL: api}):
        row = row_from_elsewhere(Options(params_file="params/gpu.yaml"), Needs(gpu=("teacher.device: cuda",)))
    assert (row["run"], row["state"]) == ("params/gpu.yaml", "NotSent")
    assert row["what"].startswith("Prefect refuses the run for the queue gpu, make up: ")


@pytest.mark.parametrize("flow", ["compress", "nightly"])
@pytest.mark.parametrize("state", ["Failed", "Crashed"])
def test_a_run_and_a_night_that_fail_are_told(flow, state):
    [told] = [alert for alert in alerts() if alert.title == "a run failed"]
    trigger = EventTrigger.model_validate(told.trigger.model_dump(mode="json") | {"id": uuid4()})
    of_flow = {"prefect.resource.id": "prefect.flow.1", "prefect.resource.role": "flow", "prefect.resource.name": flow}
    event = ReceivedEvent(
        occurred=datetime.now(tz=UTC),
        event=f"prefect.flow-run.{state}",
        resource={"prefect.resource.id": f"prefect.flow-run.{uuid4()}"},
        related=[of_flow],
        id=uuid4(),
    )
    assert trigger.covers(event)
    assert trigger.expects(event.event)
