"""What Prefect's server does by itself: end runs whose process died, and tell of runs that failed, were missed, or made something worse."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.memory import REGRESSION
from flows.room import NEARLY_FULL

ZOMBIES = "crash zombie flow runs"
SILENCE_SECONDS = 90
MISSED_AFTER = timedelta(hours=26)
BLOCK = "slimline-alerts"
ANY = ResourceSpecification({})
RUNS = ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]})
OF_THE_LINE = ResourceSpecification({"prefect.resource.role": ["flow"], "prefect.resource.name": ["compress", "nightly"]})
NIGHTLY = ResourceSpecification({"prefect.resource.role": ["deployment"], "prefect.resource.name": ["nightly"]})
OURS = ResourceSpecification({"prefect.resource.id": ["slimline.*"]})
A_RUN = "{{ (flow_run.name ~ ': ' ~ (flow_run.state.message or flow_run.state.name) ~ ' ' ~ (flow_run | ui_url)) | tojson }}"
ITS_TEXT = "{{ (event.resource.name ~ ': ' ~ event.payload.text) | tojson }}"


@dataclass(frozen=True)
class Alert:
    """When to tell, under which title, and what: a template that gives a JSON string."""

    title: str
    trigger: EventTrigger
    text: str

    @property
    def name(self) -> str:
        """As Prefect's UI lists it."""
        return f"alert: {self.title}"


def alerts(missed_after: timedelta = MISSED_AFTER) -> Iterator[Alert]:
    """Every alert; a nightly run is missed where none began for so long."""
    ends = {f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")}
    yield Alert("a run failed", _at_once(ends, RUNS, OF_THE_LINE), A_RUN)
    yield Alert("something got worse", _at_once({REGRESSION}, OURS), ITS_TEXT)
    yield Alert("a disk or bucket is nearly full", _at_once({NEARLY_FULL}, OURS), ITS_TEXT)
    missed = f"no nightly run began within {missed_after.total_seconds() / 3600:g} h; is the worker alive? `make up`"
    trigger = EventTrigger(
        match=RUNS,
        match_related=NIGHTLY,
        expect={"prefect.flow-run.Running"},
        posture=Posture.Proactive,
        threshold=1,
        within=missed_after,
    )
    yield Alert("the nightly run was missed", trigger, f"{{{{ {missed!r} | tojson }}}}")


def register_alerts(address: str, wanted: Iterator[Alert]) -> None:
    """Let Prefect call `address` for each, and for none of an earlier call's that differs; may be repeated."""
    block = Webhook(method="POST", url=address).save(BLOCK, overwrite=True)
    with get_client(sync_client=True) as client:
        for alert in wanted:
            standing = client.read_automations_by_name(alert.name)
            outdated = [one for one in standing if _differ(one.trigger, alert.trigger)]
            for one in outdated:
                client.delete_automation(one.id)
            if len(outdated) == len(standing):
                payload = f'{{"title": "{alert.title}", "text": {alert.text}}}'
                Automation(name=alert.name, trigger=alert.trigger, actions=[CallWebhook(block_document_id=block, payload=payload)]).create()


def _differ(standing: Any, wanted: EventTrigger) -> bool:
    """Whether an automation waits for something else than it should: one of an earlier version, or of other hours."""
    return any(getattr(standing, part, None) != getattr(wanted, part) for part in ("expect", "match", "match_related", "within"))


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
        match=RUNS,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=SILENCE_SECONDS),
    )
    silence = ChangeFlowRunState(state=StateType.CRASHED, message=f"no heartbeat for {SILENCE_SECONDS} s")
    Automation(name=ZOMBIES, trigger=trigger, actions=[silence]).create()


def _at_once(expected: set[str], match: ResourceSpecification, related: ResourceSpecification = ANY) -> EventTrigger:
    each, now = {"prefect.resource.id"}, timedelta(0)
    return EventTrigger(
        expect=expected, match=match, match_related=related, for_each=each, posture=Posture.Reactive, threshold=1, within=now
    )
