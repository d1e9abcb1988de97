"""The application of one service: its routes, and what stands before them."""

from fastapi import FastAPI

from slimline import __version__
from slimline.serving import completion_route, embedding_route, predict_route, refusals, state_route
from slimline.serving.front import Front, State
from slimline.serving.service import Service


def application(service: Service, state: State) -> FastAPI:
    """An ASGI application; /openapi.json describes it, and no page of it loads anything from elsewhere."""
    app = FastAPI(title=f"slimline: {service.name}", version=__version__, docs_url=None, redoc_url=None)
    refusals.install(app)
    app.include_router(state_route.routes(service, state))
    app.include_router(predict_route.routes(service))
    app.include_router(completion_route.routes(service))
    app.include_router(embedding_route.routes(service))
    app.add_middleware(Front, settings=service.settings, state=state, meters=service.meters)
    return app
