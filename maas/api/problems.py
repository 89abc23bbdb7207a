"""Every failure as ``application/problem+json`` (RFC 9457), in the same shape whatever failed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from maas.auditing import REFUSALS, record_refusal
from maas.errors import MaasError, MalformedRequestError

MEDIA_TYPE = "application/problem+json"
HIDDEN_DETAIL = "The server failed and nothing was written; its log has the cause under this request id."

_HTTP_ERRORS = {
    404: ("not_found", "Not found", "There is no such route; /openapi.json lists them."),
    405: ("method_not_allowed", "Method not allowed", "This route does not take this method; see the Allow header."),
}


class FieldProblem(BaseModel):
    field: str = Field(description="Dotted path of the rejected input, such as memories.3.text.")
    message: str


class Problem(BaseModel):
    """What every failure answers."""

    type: str = Field(description="urn:maas:problem:<code>")
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable name of the error; the SDK raises the class of that code.")
    request_id: str | None = None
    errors: list[FieldProblem] | None = None


def problem(
    code: str,
    title: str,
    status: int,
    detail: str,
    *,
    request_id: str | None = None,
    errors: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    content: dict[str, Any] = {
        "type": f"urn:maas:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if request_id:
        content["request_id"] = request_id
    if errors:
        content["errors"] = errors
    # ASCII escapes carry whatever a refused text held, lone surrogates included.
    return Response(json.dumps(content), status, media_type=MEDIA_TYPE, headers=headers)


def error_response(error: MaasError, request_id: str | None = None) -> Response:
    """The answer to ``error``; a 500 keeps its cause to the log."""
    headers = {}
    if error.status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after or 1)))
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="maas"'
    if error.status == 408:
        headers["Connection"] = "close"  # what still comes of the body would be taken for the next request's
    return problem(
        error.code,
        error.title,
        error.status,
        HIDDEN_DETAIL if error.status == 500 else error.detail,
        request_id=request_id,
        errors=[{"field": fault.field, "message": fault.message} for fault in error.errors],
        headers=headers,
    )


def internal_error(request_id: str | None) -> Response:
    return problem("internal", "Internal error", 500, HIDDEN_DETAIL, request_id=request_id)


async def note(request: Request, error: MaasError, ids: Mapping[str, Any]) -> None:
    """Leave to the log what only the log may tell, and to the audit log who was refused, and which ids."""
    if error.status == 500:
        request.state.failure = error
    if error.status in REFUSALS:
        await run_in_threadpool(_record_refusal, request, error, ids)


def _record_refusal(request: Request, error: MaasError, ids: Mapping[str, Any]) -> None:
    acting = getattr(request.state, "acting", None)
    if acting is not None:
        route = getattr(request.scope.get("route"), "path_format", "unmatched")
        record_refusal(acting, f"{request.method} {route}", error, ids)


def add_handlers(app: FastAPI) -> None:
    """Answer the errors of maas, of routing, and of a caller who hung up."""

    async def on_maas_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, MaasError)
        await note(request, error, request.path_params)
        return error_response(error, request.state.request_id)

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code, title, detail = _HTTP_ERRORS.get(error.status_code, ("http_error", str(error.detail), str(error.detail)))
        headers = dict(error.headers or {})
        return problem(code, title, error.status_code, detail, request_id=request.state.request_id, headers=headers)

    async def on_disconnect(request: Request, _: Exception) -> Response:
        cut = MalformedRequestError("the body was cut off before its end; nothing was written")
        return error_response(cut, request.state.request_id)

    app.add_exception_handler(MaasError, on_maas_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(ClientDisconnect, on_disconnect)
