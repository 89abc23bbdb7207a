"""Store, recall, list, read, change and delete memories."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from maas.api.answers import answer
from maas.api.dependencies import BodyCall, PlainCall, given
from maas.api.openapi import operation
from maas.fields import Identifier
from maas.records import ContextResponse, Deleted, History, Memory, Page, RecallResponse, StoreResponse
from maas.requests import BatchRequest, ContextRequest, ListRequest, RecallRequest, Request, StoreRequest, UpdateRequest

router = APIRouter(tags=["memories"])
MEMORY_ID = {"memory_id": "Id of the memory."}


class OwnerQuery(Request):
    """Optional on routes by memory id: refuse the memory unless it is this user's."""

    user_id: Identifier | None = None


@router.post(
    "/v1/memories",
    status_code=201,
    response_model=StoreResponse,
    openapi_extra=operation(
        body=StoreRequest,
        example={"user_id": "alice", "text": "I moved to Tokyo in May", "metadata": {"city": "Tokyo"}},
        idempotent=True,
    ),
)
def store_memory(call: BodyCall) -> Response:
    """Store one memory from text, or one for each message of a conversation."""
    grant = call.grant("write")
    request = call.parse(StoreRequest)
    grant.check_user(request.user_id)
    response = grant.brain.store(**given(request), idempotency_key=call.idempotency_key)
    call.metrics.count_stored(response)
    return answer(response, 201)


@router.post(
    "/v1/memories/batch",
    status_code=201,
    response_model=StoreResponse,
    openapi_extra=operation(
        body=BatchRequest,
        example={"memories": [{"user_id": "alice", "text": "I have a cat called Miso"}]},
        idempotent=True,
    ),
)
def store_batch(call: BodyCall) -> Response:
    """Store up to 1,000 memories, all or none; a fault names its item, as in ``memories.3.text``."""
    grant = call.grant("write")
    request = call.parse(BatchRequest)
    for memory in request.memories:
        grant.check_user(memory.user_id)
    response = grant.brain.store_batch(request.memories, idempotency_key=call.idempotency_key)
    call.metrics.count_stored(response)
    return answer(response, 201)


@router.post(
    "/v1/recall",
    response_model=RecallResponse,
    openapi_extra=operation(body=RecallRequest, example={"user_id": "alice", "query": "Where do I live?", "top_k": 5}),
)
def recall(call: BodyCall) -> Response:
    """Recall the memories that answer a query, best first. ``limit`` is an alias of ``top_k``."""
    grant = call.grant("read")
    request = call.parse(RecallRequest)
    grant.check_user(request.user_id)
    response = grant.brain.recall(**given(request))
    call.metrics.recalled.inc(len(response.results))
    return answer(response)


@router.post(
    "/v1/context",
    response_model=ContextResponse,
    openapi_extra=operation(
        body=ContextRequest, example={"user_id": "alice", "query": "Where do I live?", "max_tokens": 500}
    ),
)
def context(call: BodyCall) -> Response:
    """What is remembered about a query as a block for a prompt, never over the budget."""
    grant = call.grant("read")
    request = call.parse(ContextRequest)
    grant.check_user(request.user_id)
    response = grant.brain.context(**given(request))
    call.metrics.recalled.inc(len(response.memories))
    return answer(response)


@router.get("/v1/memories", response_model=Page, openapi_extra=operation(query=ListRequest, json_fields=("filters",)))
def list_memories(call: PlainCall) -> Response:
    """List a user's memories, newest first, a page at a time."""
    grant = call.grant("read")
    request = call.query(ListRequest, json_fields=("filters",))
    grant.check_user(request.user_id)
    return answer(grant.brain.list(**given(request)))


@router.get(
    "/v1/memories/{memory_id:path}/history",
    response_model=History,
    openapi_extra=operation(path=MEMORY_ID, query=OwnerQuery),
)
def memory_history(call: PlainCall) -> Response:
    """Every version of a memory, with who wrote it and when."""
    grant = call.grant("read")
    return answer(grant.brain.history(call.path("memory_id"), user_id=grant.owner(owner_in_query(call))))


@router.get(
    "/v1/memories/{memory_id:path}",
    response_model=Memory,
    openapi_extra=operation(path=MEMORY_ID, query=OwnerQuery),
)
def get_memory(call: PlainCall) -> Response:
    """One memory."""
    grant = call.grant("read")
    return answer(grant.brain.get(call.path("memory_id"), user_id=grant.owner(owner_in_query(call))))


@router.patch(
    "/v1/memories/{memory_id:path}",
    response_model=Memory,
    openapi_extra=operation(
        path=MEMORY_ID,
        query=OwnerQuery,
        body=UpdateRequest,
        example={"text": "I moved to Kyoto in June"},
        idempotent=True,
    ),
)
def update_memory(call: BodyCall) -> Response:
    """Change the fields that are given; null clears ``importance`` and ``expires_at``."""
    grant = call.grant("write")
    changes = call.parse(UpdateRequest)
    owner = grant.owner(owner_in_query(call))
    memory = grant.brain.update(
        call.path("memory_id"), user_id=owner, idempotency_key=call.idempotency_key, **given(changes)
    )
    return answer(memory)


@router.delete(
    "/v1/memories/{memory_id:path}",
    response_model=Deleted,
    openapi_extra=operation(path=MEMORY_ID, query=OwnerQuery),
)
def delete_memory(call: PlainCall) -> Response:
    """Delete one memory with its vectors and versions; what it superseded is current again."""
    grant = call.grant("write")
    return answer(grant.brain.delete(call.path("memory_id"), user_id=grant.owner(owner_in_query(call))))


def owner_in_query(call: PlainCall) -> str | None:
    return call.query(OwnerQuery).user_id
