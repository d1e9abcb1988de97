"""The answers of a language model, as routes ask for them: from the output cache, or from the queue; whole, or piece by piece."""

import asyncio
import functools
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from slimline.data.windows import Windows
from slimline.generation import Generation, Generator, Sampling
from slimline.generation.output_cache import OutputCache, repeats
from slimline.model import Model
from slimline.serving.answering import Answer, Answering, Ask
from slimline.serving.batches import Batcher, Job, in_thread
from slimline.serving.conversation import Conversation, conversation_of
from slimline.serving.meters import Meters
from slimline.serving.refusals import bad
from slimline.serving.settings import Settings

Prompt = tuple[int, ...]


@dataclass(frozen=True)
class Answers:
    """A generator behind its queue and its output cache; `most_tokens` is the longest answer that one may ask for."""

    generator: Generator
    batcher: Batcher
    conversation: Conversation | None
    cache: OutputCache | None
    meters: Meters
    most_tokens: int
    folder: Path
    """What the output cache writes into; it goes with the server."""

    def close(self) -> bool:
        """End its threads, and forget what was cached; whether all have ended."""
        is_over = self.batcher.close()
        if self.cache is not None:
            self.cache.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return is_over

    def room(self, prompt: Prompt, asked: int | None, default: int | None) -> int:
        """How many tokens an answer may have.

        Raises:
            Refusal: the prompt leaves no room in the model's context, or less than was asked for (400).
        """
        context = self.generator.context
        left = context - len(prompt)
        if left < 1:
            raise bad(
                f"the prompt has {len(prompt)} tokens, the model reads {context} of prompt and answer", "prompt", "context_length_exceeded"
            )
        if asked is None:
            return min(left, self.most_tokens, default or left)
        if asked > left:
            told = (
                f"max_tokens: {asked} and a prompt of {len(prompt)} tokens are more than the {context} that the model reads; ask for {left}"
            )
            raise bad(told, "max_tokens", "context_length_exceeded")
        if asked > self.most_tokens:
            raise bad(f"max_tokens: {asked}; this server gives at most {self.most_tokens}", "max_tokens")
        return asked

    async def whole(self, prompt: Prompt, sampling: Sampling) -> Generation:
        """One answer."""
        if (kept := await self._kept(prompt, sampling)) is not None:
            return kept
        return await self._new(prompt, sampling, await self.batcher.answer(Ask(prompt, sampling)))

    async def streamed(self, prompt: Prompt, sampling: Sampling) -> "Stream":
        """One answer piece by piece.

        Raises:
            Refusal: the queue is full.
        """
        stream = Stream(finish=functools.partial(self._new, prompt, sampling))
        if (kept := await self._kept(prompt, sampling)) is not None:
            stream.have(kept)
        else:
            stream.follow(self.batcher.submitted(Ask(prompt, sampling, stream.on_text)))
        return stream

    async def _kept(self, prompt: Prompt, sampling: Sampling) -> Generation | None:
        if self.cache is None or not repeats(sampling):
            return None
        found = await in_thread(self.cache.get, prompt, sampling)
        self.meters.cache.labels("miss" if found is None else "hit").inc()
        return found

    async def _new(self, prompt: Prompt, sampling: Sampling, answer: Answer) -> Generation:
        """Keep and count what the engine gave."""
        if self.cache is not None and repeats(sampling):
            await in_thread(self.cache.put, prompt, sampling, answer.generation)
        self.meters.first_token.observe(answer.first_token_s)
        found = answer.generation
        for kind, count in (("prompt", found.prompt_tokens), ("cached", found.cached_tokens), ("answer", len(found.tokens))):
            self.meters.tokens.labels(kind).inc(count)
        return found


def answers_of(model: Model, settings: Settings, meters: Meters) -> Answers | None:
    """What answers with text, None where the model does not write.

    Raises:
        MachineError: the target's engine is not installed.
        ArtifactError: the release lacks its tokenizer, or its chat template is none.
    """
    if model.generating is None:
        return None
    generator, windows = model.generator, model.preprocessing
    assert isinstance(windows, Windows)
    conversation = conversation_of(windows)
    threads, size = (settings.concurrency, 1) if generator.takes_many else (1, settings.concurrency)
    wait_s, longest = settings.batch_wait_ms / 1e3, settings.queue_length
    batcher = Batcher(Answering(generator), size, wait_s, longest, threads, meters.batches.observe)
    folder = Path(tempfile.mkdtemp(prefix="slimline-serve-"))
    cache = None
    if settings.cache_mb:
        cache = OutputCache(model.identity, folder, size_bytes=settings.cache_mb * 10**6, lifetime_s=settings.cache_ttl_s)
    return Answers(generator, batcher, conversation, cache, meters, settings.max_tokens, folder)


@dataclass
class Stream:
    """The pieces of one answer, and the whole of it once they are over; `close` stops it."""

    finish: Callable[[Answer], Awaitable[Generation]]
    generation: Generation | None = None
    job: Job[Ask] | None = None
    pieces: "asyncio.Queue[str | None]" = field(default_factory=asyncio.Queue)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def on_text(self, piece: str) -> bool:
        """Called in the model's thread."""
        self.loop.call_soon_threadsafe(self.pieces.put_nowait, piece)
        return False

    def have(self, generation: Generation) -> None:
        """The answer is there already."""
        self.generation = generation
        self.pieces.put_nowait(generation.text)
        self.pieces.put_nowait(None)

    def follow(self, job: Job[Ask]) -> None:
        """The answer comes from a job, whose end is put behind its pieces."""

        def ended(future: "asyncio.Future[Answer]") -> None:
            future.exception()  # who has stopped reading asks no more for it, and asyncio would complain
            self.pieces.put_nowait(None)

        self.job = job
        job.future.add_done_callback(ended)

    async def next(self) -> str | None:
        """The next piece; None at the end.

        Raises:
            SlimlineError: what the engine refused.
        """
        piece = await self.pieces.get()
        if piece is None and self.generation is None:
            assert self.job is not None
            self.generation = await self.finish(self.job.future.result())
        return piece

    def close(self) -> None:
        """Nobody waits any longer: the engine stops at its next token."""
        if self.job is not None:
            self.job.given_up = True
