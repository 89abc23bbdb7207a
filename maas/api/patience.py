"""How long a connection may take to say what it wants, and how much: what uvicorn leaves open.

Without these, connections that send a byte now and then, or headers without end, hold memory and descriptors for ever.
"""

from __future__ import annotations

import json
from asyncio import TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEADER_BYTES = 65_536

_REASONS = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class PatientProtocol(HttpToolsProtocol):
    """One connection of a client.

    Args:
        patience_seconds: from its opening, or from a request's first byte, until that request's headers are whole.
    """

    def __init__(self, *args: Any, patience_seconds: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._patience = patience_seconds
        self._waiting: TimerHandle | None = None
        self._header_bytes = 0
        self._refused = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self._waiting is not None:  # the parser holds what is not whole yet, however much that becomes
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        if self._waiting is None:
            self._wait()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        if not self._refused:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > MAX_HEADER_BYTES:
                self._refuse_headers()
            else:
                super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "malformed_request", "Malformed request", msg)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(self._patience, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        detail = f"the headers were not there within {self._patience:g} seconds (server.patience_seconds)"
        self._refuse(408, "request_timeout", "The request came too slowly", detail)

    def _refuse_headers(self) -> None:
        detail = f"the headers are larger than {MAX_HEADER_BYTES:,} bytes"
        self._refuse(431, "headers_too_large", "Headers too large", detail)

    def _refuse(self, status: int, code: str, title: str, detail: str) -> None:
        """Answer beside the application, which never hears of it, and hang up."""
        self._stop_waiting()
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        content = {"type": f"urn:maas:problem:{code}", "title": title, "status": status, "detail": detail, "code": code}
        body = json.dumps(content).encode()
        # A request before this one may still be answered; two answers in one stream would be read as one.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            head = (
                f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/problem+json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()
