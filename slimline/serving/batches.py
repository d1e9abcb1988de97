"""Requests that wait are worked on together, by threads of their own: the event loop is never blocked by a model.

While a batch runs, the next requests gather; an idle model waits a few ms for as many as there lately were, and not at all for a lone
client.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from slimline.artifact.border import told_as
from slimline.errors import MachineError, SlimlineError
from slimline.serving.refusals import busy

log = logging.getLogger(__name__)
Given = TypeVar("Given")
Found = TypeVar("Found")


@dataclass(eq=False)
class Job(Generic[Given]):
    """One request's work: of `size` samples; `given_up` once nobody waits for its answer."""

    given: Given
    size: int
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    given_up: bool = False

    def done(self, result: Any) -> None:
        """Hand the answer over; an exception is raised where it is awaited."""
        self.loop.call_soon_threadsafe(self._settle, result)

    def _settle(self, result: Any) -> None:
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


Run = Callable[[Sequence[Job[Any]]], None]
"""Works on jobs together, and calls `done` of each."""


def answer_each(jobs: Sequence[Job[Any]], answer: Run) -> None:
    """Answer jobs together; where that is refused each by itself, so that only the one that is at fault is told why."""
    try:
        answer(jobs)
    except SlimlineError as error:
        if len(jobs) == 1:
            jobs[0].done(error)
            return
        for job in jobs:
            answer_each([job], answer)


@dataclass
class Batcher:
    """A queue in front of `run`, which `threads` threads call with jobs of `size` samples together; a larger job comes alone."""

    run: Run
    size: int
    wait_s: float
    longest: int
    threads: int = 1
    observe: Callable[[float], None] = field(default=lambda _size: None)

    def __post_init__(self) -> None:
        self.waiting: deque[Job[Any]] = deque()
        self.changed = threading.Condition()
        self.is_closed = False
        self.lately, self.working = 1, 0
        self.workers = [threading.Thread(target=self._work, name=f"model-{place}", daemon=True) for place in range(self.threads)]
        for worker in self.workers:
            worker.start()

    def __len__(self) -> int:
        return len(self.waiting)

    def submitted(self, given: Any, size: int = 1) -> Job[Any]:
        """Stand in the queue; to be called in an event loop.

        Raises:
            Refusal: the queue is full (503).
        """
        loop = asyncio.get_running_loop()
        job: Job[Any] = Job(given, size, loop, loop.create_future())
        with self.changed:
            if len(self.waiting) >= self.longest:
                raise busy(f"{self.longest} requests wait already; come again")
            self.waiting.append(job)
            self.changed.notify()
        return job

    async def answer(self, given: Any, size: int = 1) -> Any:
        """The answer to one job; the job is given up where nobody waits for it any longer."""
        job = self.submitted(given, size)
        try:
            return await job.future
        finally:
            job.given_up = True

    def close(self, within_s: float = 5.0) -> bool:
        """End the threads; what still waits is not worked on. Whether all have ended: a call into a runtime cannot be broken off."""
        with self.changed:
            self.is_closed = True
            self.waiting.clear()
            self.changed.notify_all()
        for worker in self.workers:
            worker.join(within_s)
        return not any(worker.is_alive() for worker in self.workers)

    def _work(self) -> None:
        while (jobs := self._gathered()) is not None:
            wanted = [job for job in jobs if not job.given_up]
            if not wanted:
                continue
            size = sum(job.size for job in wanted)
            self._begin(size)
            failed: SlimlineError = MachineError("the model gave no answer")
            try:
                with told_as(lambda reason: MachineError(f"the model failed: {reason}")):
                    self.run(wanted)
            except SlimlineError as error:
                log.warning("a batch of %d failed", len(wanted), exc_info=error)
                failed = error
            for job in wanted:
                job.done(failed)  # one that has its answer keeps it
            self._begin(-size)

    def _begin(self, size: int) -> None:
        """So many samples more, or fewer, are being worked on, by all threads."""
        with self.changed:
            self.working += size
        if size > 0:
            self.observe(self.working)

    def _gathered(self) -> list[Job[Any]] | None:
        """The next jobs together; None when closed."""
        with self.changed:
            while not self.waiting:
                if self.is_closed:
                    return None
                self.changed.wait()
            end = time.monotonic() + self.wait_s
            while self._there() < min(self.size, self.lately) and (left := end - time.monotonic()) > 0 and not self.is_closed:
                self.changed.wait(left)
            found: list[Job[Any]] = []
            while self.waiting and (not found or sum(job.size for job in found) + self.waiting[0].size <= self.size):
                found.append(self.waiting.popleft())
            self.lately = sum(job.size for job in found)
            if self.waiting:
                self.changed.notify()
            return found

    def _there(self) -> int:
        return sum(job.size for job in self.waiting)


async def in_thread(work: Callable[..., Found], *given: Any) -> Found:
    """The result of something that takes milliseconds, beside the event loop."""
    return await asyncio.to_thread(work, *given)
