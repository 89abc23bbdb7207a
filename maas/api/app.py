"""The REST service as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import timedelta
from importlib.util import find_spec

from anyio import to_thread
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

from maas.api import admin, documents, embeddings, health, memories, users
from maas.api.metrics import Metrics
from maas.api.middleware import BodyLimit, RequestContext
from maas.api.openapi import describe, responses
from maas.api.problems import add_handlers
from maas.api.purging import Purging
from maas.api.rate_limits import RateLimits
from maas.api.reading import BackgroundReading
from maas.api.reindexing import Reindexing
from maas.api.tracing import Tracing, build_tracer_provider
from maas.brain import PersonalMemoryBrain
from maas.settings import Settings
from maas.ui import router as ui_router

WAITING_PER_THREAD = 16  # requests queued for a worker thread before 503 is kinder than waiting


def create_app(
    settings: Settings,
    *,
    brain: PersonalMemoryBrain | None = None,
    on_ready: Callable[[PersonalMemoryBrain], None] | None = None,
) -> FastAPI:
    """Build the service; nothing is opened before it starts.

    Args:
        settings: server, auth and, unless ``brain`` is given, everything the brain needs.
        brain: used and left open; None: built at start-up and closed at shutdown.
        on_ready: called with the brain once it can answer.
    """
    metrics = Metrics()
    tracer_provider = build_tracer_provider(settings.tracing)
    mcp_route, mcp_running = _mcp(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = settings.server.threads
        serving = brain if brain is not None else await run_in_threadpool(PersonalMemoryBrain, settings)
        metrics.watch_encoder(serving.embedder)
        reindexing = Reindexing()
        reindexing.watch(serving)
        app.state.brain = serving
        app.state.reindexing = reindexing
        app.state.reading = reading = BackgroundReading()
        purging = Purging(serving, timedelta(minutes=settings.storage.purge_minutes))
        purging.start()
        try:
            await run_in_threadpool(reading.resume, serving)
            await run_in_threadpool(app.openapi)  # kept once built, and building takes the loop's time
            if on_ready is not None:
                await run_in_threadpool(on_ready, serving)
            async with mcp_running():
                yield
        finally:
            await run_in_threadpool(purging.stop)
            await run_in_threadpool(reading.stop)
            await run_in_threadpool(reindexing.stop)
            if brain is None:
                await run_in_threadpool(serving.close)
            if tracer_provider is not None:
                await run_in_threadpool(tracer_provider.shutdown)

    app = FastAPI(
        title="maas",
        version="1",
        description="Personal memory as a service: store what was said, recall it when it matters.",
        lifespan=lifespan,
        docs_url=None,  # the pages of both load scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,
        responses=responses(),
    )
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.rate_limits = RateLimits(settings.server.requests_per_minute)
    add_handlers(app)
    for area in (memories, documents, users, embeddings, admin, health):
        app.include_router(area.router)
    if settings.server.ui:
        app.include_router(ui_router)
    if mcp_route is not None:
        app.router.routes.append(mcp_route)
    describe(app)
    server = settings.server
    app.add_middleware(BodyLimit, max_bytes=server.max_body_bytes, patience_seconds=server.patience_seconds)
    app.add_middleware(RequestContext, metrics=metrics, max_in_flight=server.threads * WAITING_PER_THREAD)
    if tracer_provider is not None:
        app.add_middleware(Tracing, provider=tracer_provider)
    return app


def _mcp(settings: Settings) -> tuple[Route | None, Callable[[], AbstractAsyncContextManager[None]]]:
    """The route of the MCP server and what runs it; nothing where its SDK is not installed."""
    if find_spec("mcp") is None:
        return None, nullcontext
    from maas.mcp.http import McpEndpoint

    endpoint = McpEndpoint("/mcp", settings.server.max_body_bytes)
    return endpoint.route, endpoint.running
