"""POST /v1/embeddings: vectors of texts. https://platform.openai.com/docs/api-reference/embeddings"""

import base64
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from numpy.typing import NDArray

from slimline.artifact.signature import MASK
from slimline.loaders import Outputs
from slimline.serving.batches import in_thread
from slimline.serving.bodies import EmbeddingsBody
from slimline.serving.predictions import require_finite, vectors
from slimline.serving.raw_inputs import Samples, of_rows
from slimline.serving.refusals import bad
from slimline.serving.service import Service, within

TEXTS = ("texts", "tokens")
"""The kinds of preprocessing that read texts."""


def routes(service: Service) -> APIRouter:
    """The route for one service."""
    router = APIRouter()

    @router.post("/v1/embeddings")
    async def embeddings(body: EmbeddingsBody, request: Request) -> JSONResponse:
        service.require_model(body.model)
        given = await in_thread(_samples, body, service)
        outputs = await within(service, request, service.batcher.answer(given, given.count))
        return JSONResponse(await in_thread(_answer, outputs, given, body, service))

    return router


def _samples(body: EmbeddingsBody, service: Service) -> Samples:
    preprocessing = service.model.preprocessing
    if service.objective != "embedding":
        raise bad(f"this model answers {service.objective}, it gives no embeddings; POST /predict")
    if preprocessing is None or preprocessing.kind not in TEXTS:
        raise bad("this model embeds something else than texts; POST /predict gives its vectors", "input")
    texts = [body.input] if isinstance(body.input, str) else body.input
    if len(texts) > service.settings.samples:
        raise bad(f"input: {len(texts)} texts; one request takes 1 to {service.settings.samples}", "input")
    return of_rows({preprocessing.columns[0]: texts}, preprocessing, service.model.signature)


def _answer(outputs: Outputs, given: Samples, body: EmbeddingsBody, service: Service) -> dict[str, Any]:
    require_finite(outputs)
    found = vectors(outputs, service.model)
    if body.dimensions not in (None, found.shape[1]):
        raise bad(f"dimensions: {body.dimensions}: this model's vectors have {found.shape[1]}", "dimensions")
    data = [{"object": "embedding", "index": place, "embedding": _written(one, body.encoding_format)} for place, one in enumerate(found)]
    tokens = _tokens(given)
    service.meters.tokens.labels("prompt").inc(tokens)
    return {"object": "list", "model": service.name, "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def _written(vector: NDArray[np.float32], how: Literal["float", "base64"]) -> Any:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if how == "base64" else vector.tolist()


def _tokens(given: Samples) -> int:
    """How many tokens the texts have, those that fill up left out."""
    there = given.arrays.get(MASK, given.arrays.get("ids"))
    return int(np.count_nonzero(there if there is not None else next(iter(given.arrays.values()))))
