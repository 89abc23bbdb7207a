"""Traces reach a collector over OTLP, under the caller's own trace, and hold nobody's words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from maas.errors import ConfigError
from maas.settings import TracingSettings
from tests.live import serving

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra otel")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    spans: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/traces", spans
        finally:
            server.shutdown()


def attributes(span: Span) -> dict[str, str | int]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


def test_spans_of_requests(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with collector() as (endpoint, spans):  # noqa: SIM117 - the server stops first, so that everything was sent
        with serving(tmp_path, tracing={"endpoint": endpoint}) as live, live.http() as http:
            http.post("/v1/memories", json={"user_id": "alice", "text": "a secret"}).raise_for_status()
            http.get("/v1/memories/of-alice", headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "r-1"})
            http.get("/healthz")
            http.get("/nowhere")
    named = {span.name: span for span in spans}
    assert set(named) == {"POST /v1/memories", "GET /v1/memories/{memory_id}", "GET"}
    found = named["GET /v1/memories/{memory_id}"]
    assert (found.trace_id.hex(), found.parent_span_id.hex(), found.kind) == (TRACE, PARENT, Span.SPAN_KIND_SERVER)
    assert attributes(found) == {
        "http.request.method": "GET",
        "http.route": "/v1/memories/{memory_id}",
        "http.response.status_code": 404,
        "maas.request_id": "r-1",
    }
    told = " ".join(map(str, spans))
    assert "alice" not in told
    assert "secret" not in told
    assert f"trace_id={TRACE}" in "".join(capfd.readouterr())


def test_nothing_is_sent_unless_asked_and_a_missing_extra_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from maas.api.tracing import build_tracer_provider

    assert build_tracer_provider(TracingSettings()) is None
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"maas\[otel\]"):
        build_tracer_provider(TracingSettings(endpoint="http://127.0.0.1:4318/v1/traces"))
