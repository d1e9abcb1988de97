"""What a server serves: one model, under one name, behind its queues."""

import asyncio
import functools
import logging
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request

from slimline.artifact.compiled import CompiledManifest
from slimline.model import Model
from slimline.objectives.readings import Reading
from slimline.serving.answers import Answers, answers_of
from slimline.serving.batch_trial import neighbours_matter
from slimline.serving.batches import Batcher
from slimline.serving.meters import Meters
from slimline.serving.predictions import Predictor
from slimline.serving.refusals import Refusal
from slimline.serving.settings import Settings

log = logging.getLogger(__name__)
ID_DIGITS = 20
"""Of a release's id, which begins the sha256 of its manifest."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Service:
    """A loaded model; `identity` is the release's id, by content."""

    model: Model
    name: str
    identity: str
    reading: Reading
    settings: Settings
    meters: Meters
    batcher: Batcher
    batching: str
    """`on`, or why it is off."""
    answers: Answers | None = None
    """Of a language model that writes."""

    @functools.cached_property
    def objective(self) -> str:
        """What is asked of the model."""
        return str(self.model.manifest.objective.get("name"))

    @property
    def target(self) -> str:
        """The runtime that it runs on."""
        manifest = self.model.manifest
        return manifest.target if isinstance(manifest, CompiledManifest) else "eager"

    @property
    def waiting(self) -> int:
        """How many requests stand in its queues."""
        return len(self.batcher) + (len(self.answers.batcher) if self.answers is not None else 0)

    def close(self) -> bool:
        """End its threads, and forget what was cached for them; whether all have ended."""
        return self.batcher.close() & (self.answers is None or self.answers.close())

    def require_model(self, given: str | None) -> None:
        """Hold a request to naming the model that is served, or none.

        Raises:
            Refusal: it names another one (404).
        """
        if given not in (None, self.name, self.identity):
            raise Refusal(
                404, f"the model {str(given)[:100]!r} is not served here; {self.name!r} is", param="model", code="model_not_found"
            )


def opened(model: Model, settings: Settings) -> Service:
    """A service of a model, its threads started.

    Raises:
        WorkloadError: its objective is an outsider's own, and its workload was not named.
        ArtifactError: it does not run, or its chat template is none.
    """
    reading = model.reading
    identity, name = model.identity[:ID_DIGITS], settings.name or label_of(model)
    meters = Meters({"model": name, "release": identity, "objective": str(model.manifest.objective.get("name"))})
    size, why = _batches(model, settings)
    wait_s = settings.batch_wait_ms / 1e3
    batcher = Batcher(Predictor(model, size), size, wait_s, settings.queue_length, observe=meters.batches.observe)
    answers = answers_of(model, settings, meters)
    service = Service(model, name, identity, reading, settings, meters, batcher, why, answers)
    meters.watch_queue(lambda: service.waiting)
    return service


def _batches(model: Model, settings: Settings) -> tuple[int, str]:
    """How many samples make a batch at most, and in words why."""
    if model.generating is not None:
        return 1, f"of up to {settings.concurrency} answers"
    if settings.batch_size == 1:
        return 1, "off: --batch-size 1"
    if (moved := neighbours_matter(model)) is None:
        return settings.batch_size, "on"
    log.warning("batching is off: this model's answers depend on what else is in the batch (they move by %.2g of their length)", moved)
    return 1, "off: answers depend on the batch"


def label_of(model: Model) -> str:
    """variant-target, or the variant of a plain one."""
    manifest = model.manifest
    return f"{manifest.variant}-{manifest.target}" if isinstance(manifest, CompiledManifest) else manifest.variant


async def within(service: Service, request: Request, work: Awaitable[Found]) -> Found:
    """The result of some work, unless it takes too long or the client goes away; then it is cancelled.

    Raises:
        Refusal: after the server's time limit (504), or nobody waits for the answer (499).
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(request))
    try:
        done, _ = await asyncio.wait({task, watch}, timeout=service.settings.timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        if watch in done:
            raise Refusal(499, "the client went away")
        raise Refusal(
            504, f"no answer within {service.settings.timeout_s:g} s; ask for less, or come again when it is quieter", code="timeout"
        )
    finally:
        for one in (task, watch):
            one.cancel()
            with suppress(asyncio.CancelledError):
                await one if not one.done() else None


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
