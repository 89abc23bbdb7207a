"""Whose memories there are."""

from __future__ import annotations

from starlette.responses import Response

from maas.ui.routing import pages
from maas.ui.visit import PageVisit

router = pages()
_PAGE = 50


@router.get("/ui/")
def users(visit: PageVisit) -> Response:
    """The users of the tenant; for a key of one user, that user."""
    grant = visit.grant("read")
    if grant.user_id is not None:
        return visit.to("search", user=grant.user_id)
    matching, after = visit.values.get("matching", "").strip(), visit.values.get("after") or None
    page = grant.brain.list_users(limit=_PAGE, matching=matching, cursor=after)
    most = max((user.memories for user in page.results), default=0)
    return visit.page("users.html", page=page, matching=matching, first=after is None, most=most)
