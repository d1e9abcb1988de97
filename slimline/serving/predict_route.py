"""POST /predict: what any model answers."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from slimline.artifact.border import told_as
from slimline.errors import ArtifactError
from slimline.loaders import Outputs
from slimline.serving.batches import in_thread
from slimline.serving.bodies import PredictBody
from slimline.serving.predictions import plain, require_finite
from slimline.serving.raw_inputs import Samples, of_arrays, of_rows, opened_picture, rows_of
from slimline.serving.refusals import bad
from slimline.serving.service import Service, within


def routes(service: Service) -> APIRouter:
    """The route for one service."""
    router = APIRouter()

    @router.post("/predict")
    async def predict(body: PredictBody, request: Request) -> JSONResponse:
        service.require_model(body.model)
        given = await in_thread(samples_of, body, service)
        return await _answered(service, request, given, body.outputs)

    @router.post("/predict/picture")
    async def predict_picture(request: Request) -> JSONResponse:
        given = await in_thread(_of_picture, await request.body(), service)
        return await _answered(service, request, given, False)

    return router


def samples_of(body: PredictBody, service: Service) -> Samples:
    """The samples of a request.

    Raises:
        InputError, DataError: they are none that the model takes.
        Refusal: there are none, or too many.
    """
    model, most = service.model, service.settings.samples
    if (body.inputs is None) == (body.samples is None):
        raise bad("give either inputs (arrays by name) or samples (raw ones)")
    if body.inputs is not None:
        _require_few(max(map(len, body.inputs.values()), default=0), most, "inputs")
        return of_arrays(body.inputs, model)
    assert body.samples is not None
    _require_few(len(body.samples), most, "samples")
    if model.preprocessing is None:
        raise bad(f"this model was released without preprocessing; give inputs: {model.signature.text}", "samples")
    return of_rows(rows_of(body.samples, model.preprocessing), model.preprocessing, model.signature)


def _of_picture(encoded: bytes, service: Service) -> Samples:
    model = service.model
    if model.preprocessing is None or model.preprocessing.kind != "pictures":
        raise bad("this model reads no pictures; POST /predict")
    rows = {model.preprocessing.columns[0]: [opened_picture(encoded, "body")]}
    return of_rows(rows, model.preprocessing, model.signature)


def _require_few(count: int, most: int, param: str) -> None:
    if not 1 <= count <= most:
        raise bad(f"{param}: {count} samples; one request takes 1 to {most}", param)


async def _answered(service: Service, request: Request, given: Samples, wants_outputs: bool) -> JSONResponse:
    outputs = await within(service, request, service.batcher.answer(given, given.count))
    return JSONResponse(await in_thread(answers_of, outputs, service, wants_outputs))


def answers_of(outputs: Outputs, service: Service, wants_outputs: bool) -> dict[str, Any]:
    """The answers in words and as values, how sure the model is where it says so, and its own numbers where they are wanted.

    Raises:
        ArtifactError: the outputs are none of the model's objective.
    """
    require_finite(outputs)
    reading = service.reading
    with told_as(lambda reason: ArtifactError(f"the model's outputs are none of {service.objective}: {reason}")):
        values = reading.answers(outputs)
        sure = reading.confidence(outputs)
        found: list[dict[str, Any]] = [{"answer": reading.shown(value), "value": plain(value)} for value in values]
    for place, one in enumerate(found if sure is not None else ()):
        assert sure is not None
        one["confidence"] = float(sure[place])
    more = {"outputs": {name: plain(value) for name, value in outputs.items()} if isinstance(outputs, dict) else plain(outputs)}
    return {"model": service.name, "predictions": found, **(more if wants_outputs else {})}
