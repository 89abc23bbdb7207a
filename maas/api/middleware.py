"""What surrounds every request, in plain ASGI: an id, a log line, the counters, limits, and the last resort."""

from __future__ import annotations

import asyncio
import math
import re
import time
import uuid
from contextlib import suppress

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maas.api.metrics import Metrics
from maas.api.problems import error_response, internal_error
from maas.errors import (
    MaasError,
    OverloadedError,
    PayloadTooLargeError,
    SlowRequestError,
    UnsupportedEncodingError,
)

PROBES = ("/healthz", "/readyz", "/metrics")
STREAMED_TO_DISK = ("/v1/import",)
SLOWEST_BYTES_PER_SECOND = 10_000
PAGES = "/ui/"  # refused as they are read, by a page

_DRAINED = 8  # times the limit; whoever sends more is cut off
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_log = structlog.get_logger("maas.api")


class RequestContext:
    """Gives a request its id, logs and counts it, and answers what nobody else caught with a bare 500.

    Logged is the route's template rather than its path, since paths and queries name people.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, max_in_flight: int) -> None:
        self._app = app
        self._metrics = metrics
        self._max_in_flight = max_in_flight
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        started = time.perf_counter()
        self._in_flight += 1
        self._metrics.in_flight.inc()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                if self._in_flight > self._max_in_flight and scope["path"] not in PROBES:
                    await _answer(_overloaded(self._max_in_flight), scope, receive, send_marked, request_id)
                else:
                    await self._app(scope, receive, send_marked)
            except Exception:
                _log.exception("request failed")
                if status:  # the answer has begun; only breaking it off tells the caller that it is not whole
                    raise
                await internal_error(request_id)(scope, receive, send_marked)
            finally:
                self._in_flight -= 1
                self._metrics.in_flight.dec()
                self._record(scope, status or 499, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", "unmatched")
        method = scope["method"] if route != "unmatched" else "ANY"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.latency.labels(method, route).observe(seconds)
        state = scope["state"]
        if failure := state.get("failure"):
            _log.error("request failed", code=failure.code, detail=failure.detail, exc_info=failure)
        log = _log.debug if scope["path"] in PROBES else _log.info
        log(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            ms=round(seconds * 1000, 2),
            key=state.get("actor"),
        )


class BodyLimit:
    """Refuses bodies that are compressed, that come too slowly, or that are too large.

    Large is over ``max_bytes`` by the announced length or, when chunked, as they arrive. Nothing is unpacked, so that
    what arrived is all there is.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, patience_seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._patience = patience_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = math.inf if scope["path"] in STREAMED_TO_DISK else self._max_bytes
        announced = headers.get("content-length", "0")
        if not scope["path"].startswith(PAGES) and announced.isdigit() and int(announced) > limit:
            await self._refuse(self._too_large(), scope, receive, send)
            return
        encoding = headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            found = f"the body is {encoding[:40]!r}-encoded; send it as it is, without Content-Encoding"
            await self._refuse(UnsupportedEncodingError(found), scope, receive, send)
            return
        started, received, whole = time.monotonic(), 0, False
        # What was raised here may come out of the application wrapped, or not at all.
        fault: MaasError | None = None

        async def receive_counted() -> Message:
            nonlocal received, whole, fault
            if whole:  # whoever asks now waits for the caller to hang up
                return await receive()
            if fault is not None:
                raise fault
            patience = started + self._patience + received / SLOWEST_BYTES_PER_SECOND - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), patience)
            except TimeoutError:
                fault = SlowRequestError(f"{received:,} bytes of the body came, and then no more; send it faster")
                raise fault from None
            received += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if received > limit:
                if not whole:
                    await self._drain(receive, received)
                fault = self._too_large()
                raise fault
            return message

        await self._app(scope, receive_counted, send)

    async def _refuse(self, error: MaasError, scope: Scope, receive: Receive, send: Send) -> None:
        await self._drain(receive, 0)
        await _answer(error, scope, receive, send, scope["state"]["request_id"])

    async def _drain(self, receive: Receive, received: int) -> None:
        """Throw the rest away: closing with bytes unread resets the connection, and the caller never sees the 413."""
        more = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while more and received <= _DRAINED * self._max_bytes:
                    message = await receive()
                    received += len(message.get("body", b""))
                    more = message["type"] == "http.request" and message.get("more_body", False)

    def _too_large(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(f"the body is larger than {self._max_bytes:,} bytes; send it in smaller parts")


def _overloaded(limit: int) -> OverloadedError:
    return OverloadedError(f"more than {limit:,} requests are waiting; try again shortly", retry_after=1)


async def _answer(error: MaasError, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
    response: Response = error_response(error, request_id)
    response.headers["Connection"] = "close"
    await response(scope, receive, send)
