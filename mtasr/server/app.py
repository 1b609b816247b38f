"""The application: routes and middleware put together, and how it starts and stops."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from mtasr import __version__
from mtasr.errors import MtasrError
from mtasr.server import openai_api, openapi, page, protocols, rendering
from mtasr.server.access import Access, Guard
from mtasr.server.jobs import api as jobs_api
from mtasr.server.live import captions, client_secrets, realtime
from mtasr.server.model_pool import Load
from mtasr.server.monitoring import health, metrics
from mtasr.server.monitoring.logs import RequestLog
from mtasr.server.problems import Problem, answer, bad_field
from mtasr.server.service import Service
from mtasr.server.settings import Settings
from mtasr.server.speech import api as speech_api
from mtasr.transcribe import load_model


def create_app(settings: Settings | None = None, *, load: Load = load_model) -> FastAPI:
    """The server as an ASGI application. `load` loads a model by name or folder."""
    settings = settings or Settings()
    service = Service(settings, load)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running(), protocols.listening(service):
            yield

    # Its documentation pages load scripts from elsewhere.
    app = FastAPI(title="mtasr", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    describe = app.openapi
    app.openapi = lambda: openapi.without_validation(describe())  # type: ignore[method-assign]
    app.state.service = service
    app.state.health = health.Health()
    app.state.renderer = rendering.Renderer()
    app.include_router(openai_api.router)
    app.include_router(speech_api.router)
    app.include_router(jobs_api.router)
    app.include_router(rendering.router)
    app.include_router(health.router)
    for router in protocols.ROUTERS:
        app.include_router(router)
    for router in (realtime.router, client_secrets.router, captions.router):
        app.include_router(router)
    app.include_router(metrics.router)
    app.include_router(page.router)
    for kind in (Problem, MtasrError, MemoryError, HTTPException):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Guard, access=Access(settings, service.ephemeral_keys))
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "x-speech-without-text", "retry-after"],
        )
    app.add_middleware(RequestLog, metrics=service.metrics)  # the last one added is the first to see a request
    return app


async def _answer(request: Request, error: Exception) -> Response:
    return answer(error)


async def _invalid(request: Request, error: Exception) -> Response:
    """A path or query parameter that cannot be read: 400 as everywhere, where FastAPI says 422."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": ("",), "msg": str(error)}
    return answer(bad_field(str(first["loc"][-1]), str(first["msg"])))
