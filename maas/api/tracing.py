"""Traces of requests over OTLP, for whoever collects them: one span a request, under the caller's own trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maas.api.middleware import PROBES
from maas.errors import ConfigError
from maas.settings import TracingSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


def build_tracer_provider(settings: TracingSettings) -> TracerProvider | None:
    """What sends spans to ``settings.endpoint`` in the background; None if that is unset. Shut it down at the end.

    Raises:
        ConfigError: the extra is not installed.
    """
    if settings.endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"tracing.endpoint is set, but {error.name} is missing: pip install 'maas[otel]', or unset it"
        ) from None
    provider = TracerProvider(resource=Resource.create({"service.name": "maas"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint)))
    return provider


class Tracing:
    """Opens a server span by OpenTelemetry's HTTP conventions, and gives log lines its ``trace_id``.

    Named by the route's template; ids, texts and queries of people stay out.
    """

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracer = provider.get_tracer("maas")
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, StatusCode

        async def send_watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    span.set_status(StatusCode.ERROR)
            await send(message)

        method = scope["method"]
        parent = self._propagator.extract(Headers(scope=scope))
        with self._tracer.start_as_current_span(method, parent, kind=SpanKind.SERVER) as span:
            span.set_attribute("http.request.method", method)
            trace_id = format(span.get_span_context().trace_id, "032x")
            with structlog.contextvars.bound_contextvars(trace_id=trace_id):
                await self._app(scope, receive, send_watched)
            route = getattr(scope.get("route"), "path_format", None)
            if route is not None:
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
            span.set_attribute("maas.request_id", scope["state"]["request_id"])
