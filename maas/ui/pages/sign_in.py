"""Signing in with a key, signing out, and light or dark."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.responses import Response

from maas.brain import PersonalMemoryBrain
from maas.errors import AuthenticationError
from maas.ui.routing import pages
from maas.ui.visit import SESSION_COOKIE, THEME_COOKIE, THEMES, PageVisit

router = pages()
_YEAR = 365 * 86_400


@router.get("/ui/sign-in")
def sign_in_form(visit: PageVisit) -> Response:
    if not visit.auth:
        return visit.to("/ui/")
    fault = "Your session has ended. Sign in again." if visit.values.get("ended") else ""
    return visit.page("sign_in.html", fault=fault, onward=visit.values.get("next", ""))


@router.post("/ui/sign-in")
def sign_in(visit: PageVisit) -> Response:
    """A key for a session, which lives in a cookie that no script can read."""
    visit.check_form()
    onward = visit.values.get("next", "")
    brain: PersonalMemoryBrain = visit.request.app.state.brain
    try:
        session = brain.open_session(visit.values.get("key", "").strip())
    except AuthenticationError as error:
        return visit.page("sign_in.html", status=401, fault=f"{error.detail}.", onward=onward)
    visit.key = session.key
    response = visit.to(onward if _is_ours(onward) else visit.home)
    seconds = visit.settings.server.ui_session_minutes * 60
    visit.remember(response, SESSION_COOKIE, session.token, seconds)
    return response


@router.post("/ui/sign-out")
def sign_out(visit: PageVisit) -> Response:
    visit.check_form()
    token = visit.request.cookies.get(SESSION_COOKIE)
    if token:
        brain: PersonalMemoryBrain = visit.request.app.state.brain
        brain.close_session(token)
    response = visit.to("sign-in")
    response.delete_cookie(SESSION_COOKIE, path="/ui")
    return response


@router.post("/ui/theme")
def theme(visit: PageVisit) -> Response:
    visit.check_form()
    onward, chosen = visit.values.get("next", ""), visit.values.get("theme", "")
    response = visit.to(onward if _is_ours(onward) else "/ui/")
    visit.remember(response, THEME_COOKIE, chosen if chosen in THEMES else "auto", _YEAR)
    return response


def _is_ours(onward: str) -> bool:
    """Whether an address leads to a page here, and nowhere else."""
    try:
        parts = urlsplit(onward)
    except ValueError:
        return False
    return not parts.scheme and not parts.netloc and onward.startswith("/ui/") and "\\" not in onward
