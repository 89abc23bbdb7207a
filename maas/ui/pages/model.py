"""The encoder that serves, and the report on the one that comes with maas."""

from __future__ import annotations

from starlette.responses import FileResponse, Response

from maas.errors import NotFoundError
from maas.ui.report import figure, report
from maas.ui.routing import pages
from maas.ui.visit import PageVisit

router = pages()


@router.get("/ui/model")
def model(visit: PageVisit) -> Response:
    grant = visit.grant("read")
    return visit.page("model.html", embedder=grant.brain.embedder, report=report())


@router.get("/ui/model/{name}")
def plot(visit: PageVisit) -> Response:
    visit.grant("read")
    path = figure(visit.path("name"))
    if path is None:
        raise NotFoundError("the report has no such figure")
    return FileResponse(path)
