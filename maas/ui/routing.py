"""Routes of pages: failures become pages too, and every answer carries the headers that keep strangers out."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from maas.api.problems import note
from maas.errors import MaasError
from maas.ui.failures import failure_page
from maas.ui.visit import Visit

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Ids of users stand in addresses. Without any referrer, forms would come from the origin "null".
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class PageRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                response = await handle(request)
            except MaasError as error:
                await note(request, error, _named(request))
                response = await run_in_threadpool(failure_page, request, error)
            response.headers.update(HEADERS)
            return response

        return answered


def pages() -> APIRouter:
    """A router for pages; the description of the API leaves them out."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)


def _named(request: Request) -> dict[str, str]:
    """Whom and what the page was about, for the audit log."""
    visit: Visit | None = getattr(request.state, "visit", None)
    if visit is None:
        return {}
    return {name: visit.values[field] for name, field in (("user_id", "user"), ("id", "id")) if visit.values.get(field)}
