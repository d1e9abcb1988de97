"""What a run leaves for later ones: its figures in the store, the history in Prefect's UI, and an event where something got worse."""

from collections.abc import Iterator
from pathlib import Path

from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from prefect.events import emit_event

from flows.api import attempt
from slimline.nights.night import Night
from slimline.nights.trend import changes, verdicts
from slimline.params import PublishParams

NIGHTS = 60
REGRESSION = "slimline.regression"


def remember(night: Night, project: Path, folder: Path, publish: PublishParams) -> tuple[str, ...]:
    """Store the run of `folder`, and hold it against the earlier ones; a line for each figure or verdict that got worse.

    One that repeats the last run of its params file, as a night does that found everything in the cache, is not stored and adds no line.

    Raises:
        StorageUnavailable, StorageRefused: the store says no or nothing.
    """
    from slimline.storage.nights import remember as store_night
    from slimline.storage.nights import remembered
    from slimline.storage.releases import release_base
    from slimline.storage.server import opened_store

    base = release_base(night.workload)
    with opened_store(project, publish) as store:
        nights = remembered(store, base, NIGHTS)
        if is_new := not is_repeated(night, nights):
            store_night(store, base, night)
            nights = [*nights, night][-NIGHTS:]
    _show(nights, folder)
    if not is_new:
        return ()
    worse = tuple(regressions(nights, night))
    if worse:
        _tell(worse, night)
    return worse


def is_repeated(night: Night, nights: list[Night]) -> bool:
    """Whether the last one of its params file says the same."""
    last = next((one for one in reversed(nights) if one.params_file == night.params_file), None)
    return last is not None and night.repeats(last)


def regressions(nights: list[Night], night: Night) -> Iterator[str]:
    """What got worse with this night, beyond the noise."""
    yield from (one.sentence for one in changes(nights) if one.later == night.identity and one.worse)
    yield from (one.sentence for one in verdicts(nights) if one.later == night.identity and one.before == "accept")


def _show(nights: list[Night], folder: Path) -> None:
    """The page of nights, as an artifact of the run."""
    from slimline.report.nights import nights_page
    from slimline.report.render import TEMPLATES, render

    if len(nights) > 1:
        text = render("stage.md.j2", {"page": nights_page(nights), "home": ""}, folder / TEMPLATES)
        attempt(lambda: create_markdown_artifact(key="history", markdown=text, description="What changed from run to run"))


def _tell(worse: tuple[str, ...], night: Night) -> None:
    context = FlowRunContext.get()
    name = context.flow_run.name if context and context.flow_run else night.identity
    resource = {"prefect.resource.id": f"slimline.run.{night.identity}", "prefect.resource.name": name}
    attempt(lambda: emit_event(event=REGRESSION, resource=resource, payload={"text": "\n".join(worse)}))
