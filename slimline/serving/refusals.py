"""What a client is told that gets no answer: a status, and a body in the shape of OpenAI's errors.

{"error": {"message": "…", "type": "invalid_request_error", "param": "messages", "code": null}}
"""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from slimline.errors import ArtifactError, InputError, SlimlineError

log = logging.getLogger(__name__)
AGAIN_S = 1
"""When a refused client is told to come again."""
KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
FAILED = "the model failed; the server's log says how"
"""What a client is told where the reason names places of the server."""
LONGEST = 300
"""Characters of what a client gave that are shown to it."""


class Refusal(HTTPException):
    """A request that is not answered; starlette's own kind, so that nothing on the way takes it for a failure."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None, **headers: str) -> None:
        super().__init__(status, message, {name.replace("_", "-"): value for name, value in headers.items()})
        self.param, self.code = param, code


def bad(message: str, param: str | None = None, code: str | None = None) -> Refusal:
    """The client's own mistake: 400."""
    return Refusal(400, message, param=param, code=code)


def busy(message: str) -> Refusal:
    """Not now: 503, and when to come again."""
    return Refusal(503, message, code="overloaded", Retry_After=str(AGAIN_S))


def told(error: SlimlineError) -> Refusal:
    """What the library refused: the client's mistake, or the model's."""
    if isinstance(error, InputError) and not isinstance(error, ArtifactError):
        return bad(str(error))
    log.error("error: %s", error)
    return Refusal(500, FAILED if "/" in str(error) else str(error), code="model_error")


def body_of(status: int, message: str, param: str | None, code: str | None) -> dict[str, Any]:
    """The JSON of a refusal."""
    kind = KINDS.get(status) or ("invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def install(app: FastAPI) -> None:
    """Have every refusal, ours or the framework's, told in the one shape."""
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(SlimlineError, _of_ours)
    app.add_exception_handler(Exception, _of_unforeseen)


def answer(status: int, message: str, param: str | None = None, code: str | None = None, headers: Mapping[str, str] | None = None) -> Any:
    """A refusal as a response."""
    return JSONResponse(body_of(status, message, param, code), status, headers)


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    param, code = (error.param, error.code) if isinstance(error, Refusal) else (None, None)
    message = error.detail
    if not isinstance(error, Refusal) and error.status_code in (404, 405):
        message = f"{request.method} {request.url.path[:LONGEST]}: there is no such route; see {', '.join(routes_of(request.app))}"
    found: JSONResponse = answer(error.status_code, message, param, code, error.headers)
    return found


async def _of_ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SlimlineError)
    return await _of_http(request, told(error))


async def _of_validation(_request: Request, error: Exception) -> JSONResponse:
    """The first mistake of a body, named by its place."""
    assert isinstance(error, RequestValidationError)
    found = min(error.errors(), key=lambda one: (one["type"].endswith("_type"), -len(one["loc"])))  # of a union the one that fits best
    place = [str(part) for part in found["loc"][1:] if not str(part).startswith(("function-", "list[", "constrained-"))]
    if found["type"] == "json_invalid":
        reason, param = f"the body is no JSON: {found.get('ctx', {}).get('error', '')} at {found['loc'][-1]}", None
    elif found["type"] == "extra_forbidden":
        reason, param = f"unknown field {found['loc'][-1]!r}; leave it out", ".".join(place)
    elif not place:
        reason, param = "the body must be a JSON object, sent with content-type: application/json", None
    else:
        reason, param = f"{'.'.join(place)}: {found['msg']}", ".".join(place)
    refused: JSONResponse = answer(400, reason[:LONGEST], param and param[:LONGEST])
    return refused


async def _of_unforeseen(_request: Request, _error: Exception) -> JSONResponse:
    """What nobody foresaw: the traceback goes to the log, by the server that raises it again."""
    found: JSONResponse = answer(500, "the server failed; its log says how", code="internal_error")
    return found


def routes_of(app: FastAPI) -> list[str]:
    """The paths that there are."""
    return sorted(app.openapi()["paths"])
