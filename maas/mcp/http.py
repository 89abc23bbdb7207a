"""``/mcp``: the server over streamable HTTP, behind the same keys as REST."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from maas.api.dependencies import Call
from maas.mcp.reach import Reach, reach
from maas.mcp.server import build_server


class McpEndpoint:
    """Answers each request by itself, without sessions, so that any worker process may take the next one.

    Every key that may read can connect; the tools that write need the scope ``write`` as well.
    """

    def __init__(self, path: str, max_body_bytes: int) -> None:
        # POST alone: without sessions there is nothing to listen to, which the protocol says by 405.
        self.route = Route(path, endpoint=self, methods=["POST"])
        self._max_body_bytes = max_body_bytes
        self._sessions: StreamableHTTPSessionManager | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The SDK's manager serves once; each run of the app has its own."""
        server = build_server()
        server.streamable_http_app(
            json_response=True,
            stateless_http=True,
            max_request_body_size=self._max_body_bytes,
            # Keys guard the door, and without them Call.grant looks at Host and Origin itself.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        self._sessions = server.session_manager
        async with self._sessions.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._sessions is not None, "the app has not started"
        scope["route"] = self.route  # what FastAPI's own routes leave for the log and the metrics
        call = Call(Request(scope))
        grant = await run_in_threadpool(call.grant, "read")
        acting = getattr(call.request.state, "acting", None)
        token = reach.set(Reach(lambda needed: call.grant(needed).brain, grant.user_id, call.metrics, acting))
        try:
            await self._sessions.handle_request(scope, receive, send)
        finally:
            reach.reset(token)
