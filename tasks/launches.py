"""Models timed together, launch by launch: in each, a fresh process of every model, which take turns on the machine.

The first launch is of whole new processes, whose memory is told; those of the others are forked from one a model that has imported its
runtime, which is half of what a launch costs, and load the model anew (docs/decisions/0010-one-stage-times-a-target.md).
Neighbours in time are compared: the order is turned round in every other round, so that a machine that grows slower or faster favours
nobody. A model that cannot be loaded or timed is left out with its reason; only what the others are compared with must run.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slimline.artifact.folder import folder_bytes
from slimline.errors import SlimlineError
from slimline.measure.energy import Energy, energy_per_call
from slimline.measure.timing import Turn
from slimline.worker import Worker
from tasks.answers import ANSWER, parts_of
from tasks.launches_session import Session
from tasks.lengths import LENGTH

log = logging.getLogger(__name__)
PROCESS_BYTES = 250_000_000
"""What a runtime takes in memory before any model."""
COPIES = 3
"""How many times its files a loaded model may take."""
ENERGY_SAMPLES = 15

Locations = Mapping[str, Path]


@dataclass(frozen=True)
class Launching:
    """How models are launched: how often, with how many rounds of turns and samples a turn, on how many threads, for which workload;
    and which of them must run."""

    launches: int
    rounds: int
    samples: int
    threads: int
    workload: str
    required: tuple[str, ...]


def timed_together(locations: Locations, batches: Mapping[str, Path], how: Launching) -> Session:
    """Launch every model `how.launches` times and time it on each batch (batch name -> .npz file), in turns with all others.

    Raises:
        SlimlineError: a model of `how.required` cannot be loaded or timed.
    """
    session = Session({part: {model: [] for model in locations} for name in batches for part in parts_of(name)})
    with _launched(locations, how, session, relaunches=False) as workers:
        for model, worker in workers.items():
            session.looks[model] = _asked(model, how, session, partial(_look, worker, batches))
        _take(workers, batches, how, session)
    with _launched(locations, how, session, relaunches=True) as workers:
        for number in range(1, how.launches):
            if number > 1:
                _relaunch(workers, how, session)
            _take(workers, batches, how, session)
    return session


def _take(workers: Mapping[str, Worker], batches: Mapping[str, Path], how: Launching, session: Session) -> None:
    """The turns of one launch on all batches."""
    for name, batch in batches.items():
        for model, rounds in _rounds(workers, batch, how, session).items():
            for part, turns in zip(parts_of(name), zip(*rounds, strict=True), strict=True):
                session.turns[part][model].append(list(turns))


def _rounds(workers: Mapping[str, Worker], batch: Path, how: Launching, session: Session) -> dict[str, list[tuple[Turn, ...]]]:
    """The turns of one launch on one batch, each round in the other direction than the one before; none of a model that failed."""
    turns: dict[str, list[tuple[Turn, ...]]] = {model: [] for model in workers}
    for number in range(how.rounds):
        for model in list(workers)[:: -1 if number % 2 else 1]:
            turns[model].append(_asked(model, how, session, partial(workers[model].turns, batch, how.samples)))
    return {model: rounds for model, rounds in turns.items() if model not in session.failures}


def groups(locations: Locations, required: Sequence[str], memory_bytes: int) -> Iterator[dict[str, Path]]:
    """The models in groups that fit in so much memory at once, each with the required ones; a model alone is never refused."""
    shared = {model: locations[model] for model in required}
    room = memory_bytes - sum(_loaded_bytes(location) for location in shared.values())
    group, used = dict(shared), 0
    for model, location in locations.items():
        if model in shared:
            continue
        if len(group) > len(shared) and used + _loaded_bytes(location) > room:
            yield group
            group, used = dict(shared), 0
        group[model], used = location, used + _loaded_bytes(location)
    yield group


@contextmanager
def _launched(locations: Locations, how: Launching, session: Session, *, relaunches: bool) -> Iterator[dict[str, Worker]]:
    """A fresh process of each model that has not failed; they load side by side."""
    with ExitStack() as stack:
        started = {
            model: stack.enter_context(Worker(location, threads=how.threads, workload=how.workload, relaunches=relaunches))
            for model, location in locations.items()
            if model not in session.failures
        }
        _await(started, how, session)
        yield started


def _relaunch(workers: Mapping[str, Worker], how: Launching, session: Session) -> None:
    """A fresh process of each model in the place of the one that is there; they load side by side."""
    for model, worker in workers.items():
        _asked(model, how, session, worker.relaunch)
    _await(workers, how, session)


def _await(workers: Mapping[str, Worker], how: Launching, session: Session) -> None:
    for model, worker in workers.items():
        session.states[model] = _asked(model, how, session, partial(getattr, worker, "state"))


def _asked(model: str, how: Launching, session: Session, ask: Callable[[], Any]) -> Any:
    """The answer; None of a model that others need not and that fails, now or before: its reason is kept."""
    if model in session.failures:
        return None
    try:
        return ask()
    except SlimlineError as error:
        if model in how.required:
            raise
        session.failures[model] = str(error)
        log.warning("time: %s: %s", model, error)
        return None


def _look(worker: Worker, batches: Mapping[str, Path]) -> tuple[int, Energy]:
    """What a fresh process holds after each batch ran once, before anything else; and the energy of a call where it can be read."""
    paths = [path for name, path in batches.items() if not name.startswith(LENGTH)]
    for name, path in batches.items():
        if name.startswith(ANSWER):
            worker.turns(path, 1)
        elif path in paths:
            worker.predict(path)
    smallest = paths[0]
    return worker.peak_memory_bytes(), energy_per_call(lambda: worker.turns(smallest, ENERGY_SAMPLES)[0].calls)


def _loaded_bytes(location: Path) -> int:
    return PROCESS_BYTES + COPIES * folder_bytes(location)
