"""A language model's side of the queue: requests that wait are answered together, as far as its engine can."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from slimline.generation import Generation, Generator, OnText, Sampling
from slimline.serving.batches import Job, answer_each


@dataclass(frozen=True)
class Ask:
    """One answer that is wanted; with `on_text` piece by piece. `asked` is the clock when it was."""

    prompt: tuple[int, ...]
    sampling: Sampling
    on_text: OnText | None = None
    asked: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Answer:
    """The answer, and what its client has waited for the first token: in the queue, and for the engine."""

    generation: Generation
    first_token_s: float


@dataclass(frozen=True)
class Answering:
    """Answers jobs of asks: whole answers with equal sampling as one batch of the engine, any other by itself."""

    generator: Generator

    def __call__(self, jobs: Sequence[Job[Ask]]) -> None:
        """Answer each job, or say what the engine refused."""
        for group in _alike(jobs):
            answer_each(group, self._answer)

    def _answer(self, group: Sequence[Job[Ask]]) -> None:
        began = time.perf_counter()
        for job, one in zip(group, self._generated(group), strict=True):
            job.done(Answer(one, began - job.given.asked + one.first_token_ms / 1e3))

    def _generated(self, group: Sequence[Job[Ask]]) -> list[Generation]:
        if len(group) > 1:
            return self.generator.generate_many([job.given.prompt for job in group], group[0].given.sampling)
        (job,) = group
        ask = job.given

        def on_text(piece: str) -> bool:
            return bool(ask.on_text and ask.on_text(piece)) or job.given_up

        return [self.generator.generate(ask.prompt, ask.sampling, on_text=on_text)]


def _alike(jobs: Sequence[Job[Ask]]) -> Iterator[list[Job[Ask]]]:
    yield from ([job] for job in jobs if job.given.on_text is not None)
    whole = sorted((job for job in jobs if job.given.on_text is None), key=lambda job: str(job.given.sampling))
    for _, group in groupby(whole, key=lambda job: job.given.sampling):
        yield list(group)
