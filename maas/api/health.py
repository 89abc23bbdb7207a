"""Liveness, readiness, metrics."""

from __future__ import annotations

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse, Response

from maas.api.dependencies import Call
from maas.api.network import is_loopback
from maas.api.openapi import OPEN

router = APIRouter(tags=["health"])


@router.get("/healthz", openapi_extra=OPEN)
async def healthz() -> Response:
    """The process answers. Never waits for the encoder or the database."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", openapi_extra=OPEN)
async def readyz(request: Request) -> Response:
    """The model is loaded and the database can be written; otherwise 503 says why."""
    # Its own thread, so that a queue of requests does not look like a broken database.
    await to_thread.run_sync(request.app.state.brain.ready, limiter=CapacityLimiter(1))
    return JSONResponse({"status": "ready"})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Prometheus' text format. Open while the server is bound to loopback; elsewhere it takes an admin key."""
    call = Call(request)
    if not is_loopback(call.settings.server.host):
        await run_in_threadpool(call.grant, "admin")
    return Response(call.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
