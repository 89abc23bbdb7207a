"""Who did, or was refused, what."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from maas.errors import InvalidInputError
from maas.records import AuditPage
from maas.ui.forms import faults, filled
from maas.ui.routing import pages
from maas.ui.visit import PageVisit

router = pages()
_PAGE = 50
_FIELDS = ("user_id", "actor", "action", "outcome")


@router.get("/ui/audit")
def audit(visit: PageVisit) -> Response:
    brain = visit.administration()
    asked: dict[str, Any] = filled(visit.values, (*_FIELDS, "cursor"))
    wrong: dict[str, str] = {}
    try:
        page = brain.audit(limit=_PAGE, **asked)
    except InvalidInputError as error:
        page, wrong = AuditPage(results=[]), faults(error)
    names = {key.id: key.name for key in brain.list_keys().results}
    return visit.page(
        "audit.html",
        status=422 if wrong else 200,
        page=page,
        asked=asked,
        names=names,
        faults=wrong,
        values=visit.values,
    )
