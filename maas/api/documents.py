"""Long texts: store, follow how far they are read, list and delete them."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from maas.api.answers import answer
from maas.api.dependencies import BodyCall, Call, PlainCall, given
from maas.api.memories import OwnerQuery, owner_in_query
from maas.api.openapi import operation
from maas.api.reading import BackgroundReading
from maas.records import Deleted, Document, DocumentPage
from maas.requests import DocumentListRequest, DocumentRequest

# How long a request waits for the end: the usual document is read by then, a book is not.
PATIENCE_SECONDS = 10.0

router = APIRouter(tags=["documents"])
DOCUMENT_ID = {"document_id": "Id of the document."}


@router.post(
    "/v1/documents",
    status_code=201,
    response_model=Document,
    responses={202: {"model": Document, "description": "Kept, and being read: ask for the document to see how far"}},
    openapi_extra=operation(
        body=DocumentRequest,
        example={"user_id": "alice", "title": "Lease", "text": "The tenant shall …"},
        idempotent=True,
    ),
)
def store_document(call: BodyCall) -> Response:
    """Store a long text; its passages are recalled like memories. 202 while it is still being read."""
    grant = call.grant("write")
    request = call.parse(DocumentRequest)
    grant.check_user(request.user_id)
    document = grant.brain.add_document(**given(request), idempotency_key=call.idempotency_key)
    reading = _reading(call)
    if document.state != "done":
        if document.state == "interrupted":
            reading.add(grant.brain, document)
        document = reading.wait(grant.brain, document, PATIENCE_SECONDS)
    return answer(document, 201 if document.state == "done" else 202)


@router.get("/v1/documents", response_model=DocumentPage, openapi_extra=operation(query=DocumentListRequest))
def list_documents(call: PlainCall) -> Response:
    """List a user's documents, the oldest first, a page at a time."""
    grant = call.grant("read")
    request = call.query(DocumentListRequest)
    grant.check_user(request.user_id)
    return answer(_reading(call).shown_page(grant.brain.list_documents(**given(request))))


@router.get(
    "/v1/documents/{document_id:path}",
    response_model=Document,
    openapi_extra=operation(path=DOCUMENT_ID, query=OwnerQuery),
)
def get_document(call: PlainCall) -> Response:
    """One document: how far it is read, and its vector once it is."""
    grant = call.grant("read")
    document = grant.brain.get_document(call.path("document_id"), user_id=grant.owner(owner_in_query(call)))
    return answer(_reading(call).shown(document))


@router.delete(
    "/v1/documents/{document_id:path}",
    response_model=Deleted,
    openapi_extra=operation(path=DOCUMENT_ID, query=OwnerQuery),
)
def delete_document(call: PlainCall) -> Response:
    """Delete a document with its passages; reading it stops."""
    grant = call.grant("write")
    return answer(grant.brain.delete_document(call.path("document_id"), user_id=grant.owner(owner_in_query(call))))


def _reading(call: Call) -> BackgroundReading:
    reading: BackgroundReading = call.request.app.state.reading
    return reading
