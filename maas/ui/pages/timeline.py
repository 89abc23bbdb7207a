"""What was said, day by day, the newest first."""

from __future__ import annotations

from itertools import groupby

from starlette.responses import Response

from maas.errors import InvalidInputError
from maas.records import Page
from maas.ui.forms import faults, filled
from maas.ui.routing import pages
from maas.ui.visit import PageVisit

router = pages()
_PAGE = 40
_FIELDS = ("session_id", "since", "until", "cursor")


@router.get("/ui/timeline")
def timeline(visit: PageVisit) -> Response:
    grant = visit.grant("read")
    user, asked = visit.user(grant), filled(visit.values, _FIELDS)
    superseded = bool(visit.values.get("include_superseded"))
    wrong: dict[str, str] = {}
    try:
        page = grant.brain.list(user_id=user, limit=_PAGE, include_superseded=superseded, **asked)
    except InvalidInputError as error:
        page, wrong = Page(results=[]), faults(error)
    days = [(day, list(memories)) for day, memories in groupby(page.results, lambda memory: memory.created_at.date())]
    asked["include_superseded"] = "1" if superseded else None
    return visit.page(
        "_days.html" if visit.partial else "timeline.html",
        status=422 if wrong else 200,
        user=user,
        days=days,
        following=page.next_cursor,
        asked=asked,
        faults=wrong,
        done=visit.values.get("done", ""),
    )
