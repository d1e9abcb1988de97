"""POST /v1/completions and /v1/chat/completions. https://platform.openai.com/docs/api-reference/chat/create"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from slimline.generation import Generation, Sampling
from slimline.serving.answers import Answers, Prompt
from slimline.serving.batches import in_thread
from slimline.serving.bodies import ChatBody, CompletionBody, GenerationBody
from slimline.serving.conversation import Conversation
from slimline.serving.event_stream import Choice, streaming, usage_of
from slimline.serving.refusals import bad
from slimline.serving.service import Service, within

DEFAULT_TOKENS = 16
"""Of a completion, as OpenAI's."""


def routes(service: Service) -> APIRouter:
    """The routes for one service."""
    router = APIRouter()

    @router.post("/v1/completions")
    async def completions(body: CompletionBody, request: Request) -> Response:
        answers = _answers(service, body)
        prompts = await in_thread(_prompts, body.prompt, answers)
        asked = [(prompt, _sampling(body, answers.room(prompt, body.max_tokens, DEFAULT_TOKENS))) for prompt in prompts]
        head = _head("cmpl", "text_completion", service)
        if body.stream:
            return await _streamed(service, answers, request, asked, body, head, _text_choice)
        found = await _whole(service, answers, request, asked)
        choices = [_text_choice(place, one.text, one.finish_reason) for place, one in enumerate(found)]
        return JSONResponse({**head, "choices": choices, "usage": usage_of(found)})

    @router.post("/v1/chat/completions")
    async def chat(body: ChatBody, request: Request) -> Response:
        answers = _answers(service, body)
        if answers.conversation is None:
            raise bad("this model was released without a chat template; POST /v1/completions", "messages")
        prompt = await in_thread(_of_conversation, [message.plain for message in body.messages], answers, answers.conversation)
        asked = [(prompt, _sampling(body, answers.room(prompt, body.max_completion_tokens or body.max_tokens, None)))]
        head = _head("chatcmpl", "chat.completion.chunk" if body.stream else "chat.completion", service)
        if body.stream:
            return await _streamed(service, answers, request, asked, body, head, _delta)
        (found,) = await _whole(service, answers, request, asked)
        message = {"role": "assistant", "content": found.text}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": found.finish_reason}
        return JSONResponse({**head, "choices": [choice], "usage": usage_of([found])})

    return router


def _answers(service: Service, body: GenerationBody) -> Answers:
    service.require_model(body.model)
    if service.answers is None:
        raise bad(f"this model ({service.objective} on {service.target}) writes no text; POST /predict")
    if body.stream_options is not None and not body.stream:
        raise bad("stream_options: only with stream: true", "stream_options")
    return service.answers


def _prompts(given: str | list[Any], answers: Answers) -> list[Prompt]:
    """The tokens of each prompt.

    Raises:
        InputError: one is empty, or has tokens that the model does not know; no other request waits in a batch with it then.
    """
    several = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    return [answers.generator.known(one) for one in several]


def _of_conversation(messages: list[dict[str, str]], answers: Answers, conversation: Conversation) -> Prompt:
    """The same of messages."""
    return answers.generator.known(conversation.tokens(messages))


def _sampling(body: GenerationBody, most: int) -> Sampling:
    """OpenAI's defaults: temperature 1, all of the mass."""
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    temperature = 1.0 if body.temperature is None else body.temperature
    return Sampling(max_new_tokens=most, temperature=temperature, top_p=body.top_p or 1.0, seed=body.seed, stop=stop)


async def _whole(service: Service, answers: Answers, request: Request, asked: Sequence[tuple[Prompt, Sampling]]) -> list[Generation]:
    async def every() -> list[Generation]:
        tasks = [asyncio.ensure_future(answers.whole(prompt, sampling)) for prompt, sampling in asked]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()  # of several prompts the others, where one was refused

    return await within(service, request, every())


async def _streamed(
    service: Service,
    answers: Answers,
    request: Request,
    asked: Sequence[tuple[Prompt, Sampling]],
    body: GenerationBody,
    head: dict[str, Any],
    choice: Choice,
) -> Response:
    """A stream, begun once the first piece is there: until then a refusal still has its status."""
    streams = []
    with contextlib.ExitStack() as unless_begun:
        for prompt, sampling in asked:
            streams.append(await answers.streamed(prompt, sampling))
            unless_begun.callback(streams[-1].close)
        first = await within(service, request, streams[0].next())
        unless_begun.pop_all()
    wants_usage = body.stream_options is not None and body.stream_options.include_usage
    return streaming(service, streams, first, head, choice, usage_of if wants_usage else None)


def _head(prefix: str, kind: str, service: Service) -> dict[str, Any]:
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": service.name}


def _text_choice(index: int, piece: str | None, ended: str | None) -> dict[str, Any]:
    return {"index": index, "text": piece or "", "logprobs": None, "finish_reason": ended}


def _delta(index: int, piece: str | None, ended: str | None) -> dict[str, Any]:
    delta = {} if piece is None else {"content": piece} if piece else {"role": "assistant", "content": ""}
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": ended}
