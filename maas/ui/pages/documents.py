"""Long texts: keep one, see how far it is read, remove it."""

from __future__ import annotations

from starlette.responses import Response

from maas.api.dependencies import Grant
from maas.api.reading import BackgroundReading
from maas.errors import InvalidInputError, PayloadTooLargeError
from maas.records import DocumentPage
from maas.ui.forms import Values, faults, filled, with_json
from maas.ui.routing import pages
from maas.ui.visit import PageVisit, Visit

router = pages()
_PAGE = 50
_FIELDS = ("text", "title", "metadata", "created_at", "expires_at")


@router.get("/ui/documents")
def documents(visit: PageVisit) -> Response:
    grant = visit.grant("read")
    return _page(visit, grant, visit.user(grant), visit.values, {})


@router.post("/ui/documents")
def add(visit: PageVisit) -> Response:
    grant, values = visit.posted("write"), visit.values
    user = visit.user(grant)
    try:
        fields = with_json(filled(values, _FIELDS), "metadata")
        text = fields.pop("text", "")
        document = grant.brain.add_document(text, user_id=user, idempotency_key=values.get("once") or None, **fields)
    except (InvalidInputError, PayloadTooLargeError) as error:
        return _page(visit, grant, user, values, faults(error), error.status)
    if document.state == "interrupted":
        _reading(visit).add(grant.brain, document)
    return visit.to("documents", user=user, done="kept")


@router.post("/ui/documents/forget")
def forget(visit: PageVisit) -> Response:
    grant = visit.posted("write")
    user = visit.user(grant)
    grant.brain.delete_document(visit.values.get("id", ""), user_id=user)
    return visit.to("documents", user=user, done="forgotten")


def _reading(visit: Visit) -> BackgroundReading:
    reading: BackgroundReading = visit.request.app.state.reading
    return reading


def _page(visit: Visit, grant: Grant, user: str, values: Values, wrong: dict[str, str], status: int = 200) -> Response:
    page = DocumentPage(results=[])
    if visit.can("read"):  # a key that may only write comes here with a fault
        kept = grant.brain.list_documents(user_id=user, limit=_PAGE, cursor=values.get("after") or None)
        page = _reading(visit).shown_page(kept)
    reading = any(document.state == "reading" for document in page.results)
    template = "_documents.html" if visit.partial else "documents.html"
    return visit.page(
        template,
        status=status,
        user=user,
        page=page,
        reading=reading,
        values=values,
        faults=wrong,
        done=values.get("done", ""),
    )
