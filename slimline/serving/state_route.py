"""GET /health, /metrics and /v1/models."""

import time
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from slimline.serving.front import State
from slimline.serving.service import Service


def routes(service: Service, state: State) -> APIRouter:
    """The routes for one service."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> JSONResponse:
        status = "draining" if state.is_draining else "ready"
        about = {"model": service.name, "release": service.identity, "batching": service.batching}
        figures = {"in_flight": state.in_flight, "queue": service.waiting, "up_s": round(time.time() - state.started, 1)}
        return JSONResponse({"status": status, **about, **figures}, 503 if state.is_draining else 200)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(service.meters.text(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/v1/models")
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [_described(service, state)]})

    @router.get("/v1/models/{name:path}")
    async def model(name: str) -> JSONResponse:
        service.require_model(name)
        return JSONResponse(_described(service, state))

    return router


def _described(service: Service, state: State) -> dict[str, Any]:
    """The model as OpenAI's interface lists one, and what we know more of it."""
    manifest = service.model.manifest
    about = {"release": service.identity, "objective": service.objective, "workload": manifest.workload, "variant": manifest.variant}
    takes = {"target": service.target, "inputs": service.model.signature.text}
    columns = service.model.preprocessing.columns if service.model.preprocessing is not None else ()
    kept = {"id": service.name, "object": "model", "created": int(state.started), "owned_by": "slimline"}
    return {**kept, **about, **takes, "samples": list(columns)}
