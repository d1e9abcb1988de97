"""Answers as server-sent events, as OpenAI streams them: a JSON object an event, and [DONE]."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from fastapi.responses import StreamingResponse

from slimline.errors import SlimlineError
from slimline.generation import Generation
from slimline.serving.answers import Stream
from slimline.serving.refusals import Refusal, body_of, told
from slimline.serving.service import Service

Choice = Callable[[int, str | None, str | None], Mapping[str, Any]]
"""The number of an answer, its next piece ("" before the first one, None at its end), and why it ended -> the choice of an event."""
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def event(body: Mapping[str, Any] | str) -> bytes:
    """One event."""
    return f"data: {body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)}\n\n".encode()


def streaming(
    service: Service,
    streams: Sequence[Stream],
    first: str | None,
    head: Mapping[str, Any],
    choice: Choice,
    usage: Callable[..., Any] | None,
) -> StreamingResponse:
    """The answers as they come, the one after the other's start; `first` is what the first of them has given already."""

    async def body() -> AsyncIterator[bytes]:
        try:
            async with asyncio.timeout(service.settings.timeout_s):
                for number, stream in enumerate(streams):
                    yield event({**head, "choices": [choice(number, "", None)]})
                    piece = first if number == 0 else await stream.next()
                    while piece is not None:
                        if piece:
                            yield event({**head, "choices": [choice(number, piece, None)]})
                        piece = await stream.next()
                    assert stream.generation is not None
                    yield event({**head, "choices": [choice(number, None, stream.generation.finish_reason)]})
            if usage is not None:
                yield event({**head, "choices": [], "usage": usage([done for one in streams if (done := one.generation) is not None])})
            yield event("[DONE]")
        except TimeoutError:
            yield event(body_of(504, f"the answer took longer than {service.settings.timeout_s:g} s", None, "timeout"))
        except SlimlineError as error:
            yield event(_refused(told(error)))
        finally:
            for stream in streams:
                stream.close()

    return StreamingResponse(body(), media_type="text/event-stream", headers=HEADERS)


def usage_of(generations: Sequence[Generation]) -> dict[str, Any]:
    """What the answers cost, in tokens."""
    prompt, answer = (sum(counts) for counts in ([one.prompt_tokens for one in generations], [len(one.tokens) for one in generations]))
    cached = {"cached_tokens": sum(one.cached_tokens for one in generations)}
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer, "prompt_tokens_details": cached}


def _refused(refusal: Refusal) -> dict[str, Any]:
    return body_of(refusal.status_code, refusal.detail, refusal.param, refusal.code)
