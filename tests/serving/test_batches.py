"""The queue in front of a model: what waits is worked on together, nobody is lost, and a failure ends no thread."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from slimline.errors import InputError, MachineError
from slimline.serving.batches import Batcher, Job, answer_each
from slimline.serving.refusals import Refusal

Asked = Callable[[Batcher], Any]


def answered(run: Callable[[Sequence[Job[Any]]], None], asked: Asked, **how: Any) -> Any:
    """What comes of `asked`, with a batcher over `run`."""

    async def main() -> Any:
        batcher = Batcher(run, **{"size": 4, "wait_s": 0.02, "longest": 8} | how)
        try:
            return await asked(batcher)
        finally:
            batcher.close()
            assert not any(worker.is_alive() for worker in batcher.workers)

    return asyncio.run(main())


def doubled(jobs: Sequence[Job[Any]]) -> None:
    for job in jobs:
        job.done(2 * job.given)


class Held:
    """Works on its first batch until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go, self.seen = threading.Event(), threading.Event(), list[int]()

    def __call__(self, jobs: Sequence[Job[Any]]) -> None:
        self.begun.set()
        assert self.go.wait(60)
        self.seen.extend(job.given for job in jobs)
        doubled(jobs)

    async def first(self, batcher: Batcher) -> "asyncio.Future[int]":
        """The first job, which is being worked on."""
        job = asyncio.ensure_future(batcher.answer(0))
        await asyncio.to_thread(self.begun.wait, 60)
        return job

    async def stand_in_the_queue(self, batcher: Batcher, *numbers: int) -> list["asyncio.Future[int]"]:
        jobs: list[asyncio.Future[int]] = [asyncio.ensure_future(batcher.answer(number)) for number in numbers]
        await asyncio.sleep(0)
        assert len(batcher) == len(jobs)
        return jobs


def test_what_waits_while_the_model_works_is_one_batch() -> None:
    sizes, held = list[float](), Held()

    async def many(batcher: Batcher) -> list[int]:
        jobs = [await held.first(batcher), *await held.stand_in_the_queue(batcher, *range(1, 9))]
        held.go.set()
        return await asyncio.gather(*jobs)

    assert answered(held, many, observe=sizes.append) == [2 * number for number in range(9)]
    assert sizes == [1, 4, 4]


def test_a_large_job_is_not_split_and_takes_no_other_along() -> None:
    sizes: list[float] = []

    async def mixed(batcher: Batcher) -> list[int]:
        return list(await asyncio.gather(batcher.answer(1, 9), batcher.answer(2, 2), batcher.answer(3, 2), batcher.answer(4, 1)))

    assert answered(doubled, mixed, observe=sizes.append, wait_s=1.0) == [2, 4, 6, 8]
    assert sizes == [9, 4, 1]


def test_a_lone_client_does_not_wait() -> None:
    async def alone(batcher: Batcher) -> float:
        began = time.perf_counter()
        for number in range(5):
            await batcher.answer(number)
        return time.perf_counter() - began

    assert answered(doubled, alone, wait_s=10.0) < 9


def test_one_request_too_many_is_refused_and_the_others_are_answered() -> None:
    held = Held()

    async def crowd(batcher: Batcher) -> list[int]:
        jobs = [await held.first(batcher), *await held.stand_in_the_queue(batcher, 1, 2)]
        with pytest.raises(Refusal, match="2 requests wait already") as caught:
            await batcher.answer(3)
        assert caught.value.status_code == 503
        held.go.set()
        return await asyncio.gather(*jobs)

    assert answered(held, crowd, longest=2) == [0, 2, 4]


def test_who_has_gone_is_not_worked_for() -> None:
    held = Held()

    async def leaving(batcher: Batcher) -> list[int]:
        first = await held.first(batcher)
        gone, stays = await held.stand_in_the_queue(batcher, 1, 2)
        gone.cancel()
        await asyncio.sleep(0)
        held.go.set()
        return [await first, await stays]

    assert answered(held, leaving) == [0, 4]
    assert held.seen == [0, 2]


def test_a_failure_is_told_to_all_of_its_batch_and_to_nobody_else() -> None:
    def failing(jobs: Sequence[Job[Any]]) -> None:
        if any(job.given is None for job in jobs):
            raise ZeroDivisionError("by nothing")
        doubled(jobs)

    async def some(batcher: Batcher) -> int:
        with pytest.raises(MachineError, match="the model failed: by nothing"):
            await batcher.answer(None)
        found: int = await batcher.answer(3)
        return found

    assert answered(failing, some) == 6


def test_what_a_model_refuses_together_is_asked_one_by_one() -> None:
    def refusing(jobs: Sequence[Job[Any]]) -> None:
        if None in [job.given for job in jobs]:
            raise InputError("None is no number")
        doubled(jobs)

    async def some(batcher: Batcher) -> list[Any]:
        return list(await asyncio.gather(*(batcher.answer(given) for given in (1, None, 3)), return_exceptions=True))

    first, refused, last = answered(lambda jobs: answer_each(jobs, refusing), some)
    assert (first, str(refused), last) == (2, "None is no number", 6)
