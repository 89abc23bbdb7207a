"""One request of somebody at the dashboard: who they are, what they may, what they sent, and the page they get."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse, Response

from maas.api.dependencies import Call, Grant
from maas.brain import PersonalMemoryBrain
from maas.errors import AuthenticationError
from maas.fields import Identifier
from maas.records import ApiKey, KeyScope
from maas.requests import Request as RequestModel
from maas.requests import parse
from maas.ui import csrf
from maas.ui.forms import read_form, texts
from maas.ui.templating import address, render

SESSION_COOKIE = "maas_session"
VISITOR_COOKIE = "maas_visitor"  # of who is not signed in, for the token of the forms shown to them
THEME_COOKIE = "maas_theme"
THEMES = ("auto", "light", "dark")


class _User(RequestModel):
    user: Identifier


class Visit(Call):
    """Like a call of the API, with the session's key in the place of a header.

    Attributes:
        values: of the query string, or of the form that was posted.
        key: who is signed in, known once a grant was asked for; None with authentication off.
    """

    def __init__(self, request: Request, form: FormData | None = None) -> None:
        super().__init__(request)
        self.uploads = form
        self.values = dict(request.query_params) if form is None else texts(form)
        self.key: ApiKey | None = None
        self._new_visitor: str | None = None
        request.state.visit = self

    # -- who, and what they may ----------------------------------------------------------------------------------

    def _authenticated(self, brain: PersonalMemoryBrain) -> ApiKey:
        token = self.request.cookies.get(SESSION_COOKIE)
        if not token:
            raise AuthenticationError("sign in first")
        self.key = brain.session_key(token)
        return self.key

    def posted(self, scope: KeyScope) -> Grant:
        """A grant for what a form asks. Raises PermissionDeniedError also for a form of another page."""
        grant = self.grant(scope)
        self.check_form()
        return grant

    def check_form(self) -> None:
        token = self.values.get(csrf.FIELD, "")
        csrf.check(self._cookie, token, self.request.headers.get("sec-fetch-site"))

    def administration(self, *, posted: bool = False) -> PersonalMemoryBrain:
        grant = self.posted("admin") if posted else self.grant("admin")
        grant.check_whole_tenant()
        return grant.brain

    def user(self, grant: Grant) -> str:
        """Whose memories the page is about: who is named, else the one the key is narrowed to."""
        named = self.values.get("user") or grant.user_id or ""
        return grant.check_user(parse(_User, {"user": named}).user)

    @property
    def auth(self) -> bool:
        return self.settings.auth.enabled

    @property
    def signed_in(self) -> bool:
        return self.key is not None or not self.auth

    def can(self, scope: KeyScope) -> bool:
        """Whether to show what needs the scope; the grant decides again."""
        return not self.auth or (self.key is not None and scope in self.key.scopes)

    @property
    def whole_tenant(self) -> bool:
        return not self.auth or (self.key is not None and self.key.user_id is None)

    @property
    def home(self) -> str:
        """The first page the key may see."""
        if self.can("read"):
            return address("")
        return address("keys" if self.can("admin") and self.whole_tenant else "memory/new")

    # -- the page ------------------------------------------------------------------------------------------------

    @property
    def here(self) -> str:
        """The address of this page, for coming back to it."""
        query = self.request.url.query
        return self.request.url.path + (f"?{query}" if query else "")

    @property
    def partial(self) -> bool:
        """Whether a part of a page was asked for by a script of ours."""
        headers = self.request.headers
        return headers.get("hx-request") == "true" and headers.get("hx-history-restore-request") != "true"

    @property
    def theme(self) -> str:
        theme = self.request.cookies.get(THEME_COOKIE, "")
        return theme if theme in THEMES else "auto"

    @property
    def form_token(self) -> str:
        if self._cookie is None:
            self._new_visitor = secrets.token_urlsafe(24)
        return csrf.token_for(self._cookie or self._new_visitor or "")

    @property
    def once(self) -> str:
        """Names one showing of a form, so that sending it twice does its work once."""
        return secrets.token_urlsafe(16)

    def page(self, template: str, *, status: int = 200, **context: Any) -> Response:
        response = HTMLResponse(render(template, visit=self, **context), status)
        if self._new_visitor is not None:
            self.remember(response, VISITOR_COOKIE, self._new_visitor)
        return response

    def to(self, page: str, **parameters: Any) -> Response:
        """Go on to another page, named or by its whole address."""
        return RedirectResponse(page if page.startswith("/") else address(page, **parameters), 303)

    def remember(self, response: Response, cookie: str, value: str, seconds: int | None = None) -> None:
        secure = self.request.url.scheme == "https"
        response.set_cookie(cookie, value, max_age=seconds, path="/ui", httponly=True, samesite="strict", secure=secure)

    @property
    def _cookie(self) -> str | None:
        cookies = self.request.cookies
        return cookies.get(SESSION_COOKIE) or cookies.get(VISITOR_COOKIE) or self._new_visitor


async def _visit(request: Request) -> AsyncIterator[Visit]:
    if request.method != "POST":
        yield Visit(request)
        return
    form = await read_form(request, request.app.state.settings.server.max_body_bytes)
    try:
        yield Visit(request, form)
    finally:
        await form.close()


PageVisit = Annotated[Visit, Depends(_visit)]
