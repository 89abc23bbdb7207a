"""Forgetting a whole user, and the receipt for it."""

from __future__ import annotations

from starlette.responses import Response

from maas.ui.routing import pages
from maas.ui.visit import PageVisit

router = pages()


@router.get("/ui/erase")
def erase_form(visit: PageVisit) -> Response:
    grant = visit.grant("write")
    return visit.page("erase.html", user=visit.user(grant), fault="")


@router.post("/ui/erase")
def erase(visit: PageVisit) -> Response:
    grant = visit.posted("write")
    user = visit.user(grant)
    if visit.values.get("confirmed", "").strip() != user:
        return visit.page(
            "erase.html", status=422, user=user, fault="This is not the id of the user; type it as it stands above."
        )
    receipt = grant.brain.erase_user(user)
    return visit.page("receipt.html", receipt=receipt, whole=receipt.model_dump_json(indent=2))
