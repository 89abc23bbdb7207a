"""A user's memories on a map: what is alike in meaning lies close."""

from __future__ import annotations

from starlette.responses import Response

from maas.ui.drawing import draw
from maas.ui.routing import pages
from maas.ui.visit import PageVisit

router = pages()


@router.get("/ui/map")
def landscape(visit: PageVisit) -> Response:
    grant = visit.grant("read")
    user = visit.user(grant)
    found = grant.brain.landscape(user)
    return visit.page("map.html", user=user, landscape=found, drawing=draw(found))
