"""Stylesheets, script and sign; and pages that are not there."""

from __future__ import annotations

from starlette.responses import FileResponse, RedirectResponse, Response

from maas.errors import NotFoundError
from maas.ui.routing import pages
from maas.ui.templating import ASSETS, STATIC

router = pages()


@router.get("/ui")
def without_slash() -> Response:
    return RedirectResponse("/ui/", 308)


@router.get("/ui/static/{name}")
def asset(name: str) -> Response:
    if name not in ASSETS:
        raise NotFoundError("there is no such file")
    # The address tells the content, so a browser need not ask again.
    return FileResponse(STATIC / name, headers={"Cache-Control": "public, max-age=31536000, immutable"})


@router.get("/ui/{page:path}")
def nowhere() -> Response:
    raise NotFoundError("there is no such page; the navigation shows what there is")
