"""Re-embedding after another model was set, and how far it has come."""

from __future__ import annotations

from starlette.responses import Response

from maas.api.reindexing import Reindexing
from maas.ui.routing import pages
from maas.ui.visit import PageVisit

router = pages()


@router.get("/ui/reindex")
def progress(visit: PageVisit) -> Response:
    status = visit.administration().reindex_status()
    return visit.page("_progress.html" if visit.partial else "reindex.html", status_=status)


@router.post("/ui/reindex")
def start(visit: PageVisit) -> Response:
    brain = visit.administration(posted=True)
    reindexing: Reindexing = visit.request.app.state.reindexing
    reindexing.start(brain)
    return visit.to("reindex")
