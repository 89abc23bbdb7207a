"""What a page says when it cannot be shown."""

from __future__ import annotations

import math

from fastapi import Request
from starlette.responses import Response

from maas.api.problems import HIDDEN_DETAIL
from maas.errors import AuthenticationError, MaasError
from maas.ui.templating import address
from maas.ui.visit import SESSION_COOKIE, Visit


def failure_page(request: Request, error: MaasError) -> Response:
    """``error`` for people; who is not signed in is sent to the sign-in, and from there back."""
    visit = getattr(request.state, "visit", None) or Visit(request)
    if isinstance(error, AuthenticationError):
        return _sign_in_first(visit, error)
    detail = HIDDEN_DETAIL if error.status == 500 else error.detail
    if visit.partial:
        return visit.page("_failure.html", status=error.status, title=error.title, detail=detail)
    response = visit.page(
        "failure.html", status=error.status, title=error.title, detail=detail, request_id=request.state.request_id
    )
    if error.status in (429, 503):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after or 1)))
    return response


def _sign_in_first(visit: Visit, error: AuthenticationError) -> Response:
    had_session = SESSION_COOKIE in visit.request.cookies
    visit.request.cookies.pop(SESSION_COOKIE, None)  # the form on the page below belongs to no session
    if visit.request.method == "POST":
        response = visit.page("sign_in.html", status=401, fault=f"{error.detail}; nothing was changed", onward="")
    else:
        onward = "" if visit.here == "/ui/" else visit.here
        to = address("sign-in", next=onward, ended=1 if had_session else None)
        response = visit.to(to) if not visit.partial else Response(headers={"HX-Redirect": to})
    response.delete_cookie(SESSION_COOKIE, path="/ui")
    return response
