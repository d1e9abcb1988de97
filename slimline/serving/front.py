"""What every request passes before a route: is the server stopping, may the client ask, is the body within bounds; and is counted after."""

import asyncio
import hmac
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slimline.serving.meters import Meters
from slimline.serving.refusals import Refusal, body_of, busy
from slimline.serving.settings import Settings

log = logging.getLogger(__name__)
OPEN = ("/health", "/metrics")
"""Answered while others are refused: what watches a server asks them."""
BODY_S = 30.0
"""How long a client may take to send its body."""
GONE = 499
"""What the log and the figures call a request whose client did not wait for the answer (nginx's number)."""


@dataclass
class State:
    """What a server is doing."""

    is_draining: bool = False
    in_flight: int = 0
    started: float = field(default_factory=time.time)


class Front:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: Settings, state: State, meters: Meters) -> None:
        self.app, self.settings, self.state, self.meters = app, settings, state, meters
        self.most = settings.queue_length + settings.concurrency + settings.batch_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it; one line in the log, of its contents nothing."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, told = time.perf_counter(), _Told(send)
        is_work = scope["path"] not in OPEN
        self.state.in_flight += is_work
        self.meters.in_flight.set(self.state.in_flight)
        try:
            await self._passed(scope, receive, told)
        finally:
            self.state.in_flight -= is_work
            self.meters.in_flight.set(self.state.in_flight)
            self._count(scope, told.status, time.perf_counter() - began)

    async def _passed(self, scope: Scope, receive: Receive, told: "_Told") -> None:
        try:
            if scope["path"] not in OPEN:
                self._require_open()
            if scope["path"] != "/health":
                self._require_key(dict(scope["headers"]).get(b"authorization", b""))
            read = await self._read(scope, receive)
        except Refusal as refusal:
            response = JSONResponse(body_of(refusal.status_code, refusal.detail, refusal.param, refusal.code), refusal.status_code)
            response.headers.update({"connection": "close", **(refusal.headers or {})})
            await response(scope, receive, told)
            return
        await self.app(scope, read, told)

    def _require_open(self) -> None:
        if self.state.is_draining:
            raise busy("the server is stopping; ask another one")
        if self.state.in_flight > self.most:
            raise busy(f"{self.most} requests are being answered; come again")

    def _require_key(self, given: bytes) -> None:
        keys = [f"Bearer {key}".encode() for key in self.settings.keys]
        if keys and not any([hmac.compare_digest(key, given) for key in keys]):  # noqa: C419 - all are compared: no clock tells which fits
            raise Refusal(
                401, "the key is missing or wrong; send authorization: Bearer KEY", code="invalid_api_key", WWW_Authenticate="Bearer"
            )

    async def _read(self, scope: Scope, receive: Receive) -> Receive:
        """The whole body, within its bounds, as the application receives it."""
        most = self.settings.body_bytes
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if stated.isdigit() and int(stated) > most:
            raise _too_large(most)
        parts, size = [], 0
        try:
            async with asyncio.timeout(BODY_S):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return _gone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise _too_large(most)
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise Refusal(408, f"the body did not come within {BODY_S:g} s") from None
        return _replayed(b"".join(parts), receive)

    def _count(self, scope: Scope, status: int | None, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or ("unmatched" if status == 404 else "refused")
        shown = str(status or GONE)
        self.meters.requests.labels(route, shown).inc()
        self.meters.seconds.labels(route).observe(seconds)
        if route not in OPEN:
            log.info("%s %s %s %.1f ms", scope["method"], route, shown, seconds * 1e3)


class _Told:
    """`send`, and the status that went through it; an answer that was cut off tells none."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
        await self.send(message)


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"the body is larger than {most:,} bytes; send less at a time", code="body_too_large")


async def _gone() -> Message:
    return {"type": "http.disconnect"}


def _replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` of a request whose body was read already."""
    waiting: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
