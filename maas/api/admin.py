"""Keys, re-embedding and the audit log, for keys with the admin scope that are not narrowed to a user."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from maas.api.answers import answer
from maas.api.dependencies import BodyCall, Call, PlainCall, given
from maas.api.openapi import operation
from maas.api.reindexing import Reindexing
from maas.brain import PersonalMemoryBrain
from maas.records import ApiKey, AuditPage, KeyList, NewApiKey, ReindexStatus
from maas.requests import AuditRequest, KeyRequest, RotateRequest

router = APIRouter(tags=["administration"])


@router.post(
    "/v1/keys",
    status_code=201,
    response_model=NewApiKey,
    openapi_extra=operation(
        body=KeyRequest, example={"name": "phone", "scopes": ["read"], "user_id": "alice"}, idempotent=True
    ),
)
def create_key(call: BodyCall) -> Response:
    """Make a key of this tenant. The answer is the only place its secret is ever shown."""
    brain = _administered(call)
    request = call.parse(KeyRequest)
    return answer(brain.create_key(**given(request), idempotency_key=call.idempotency_key), 201)


@router.get("/v1/keys", response_model=KeyList, openapi_extra=operation())
def list_keys(call: PlainCall) -> Response:
    """The keys of this tenant, revoked ones included, without their secrets."""
    return answer(_administered(call).list_keys())


@router.delete(
    "/v1/keys/{key_id:path}", response_model=ApiKey, openapi_extra=operation(path={"key_id": "Id of the key."})
)
def revoke_key(call: PlainCall) -> Response:
    """Revoke a key; from now on it is answered 401."""
    return answer(_administered(call).revoke_key(call.path("key_id")))


@router.post(
    "/v1/keys/{key_id:path}/rotate",
    status_code=201,
    response_model=NewApiKey,
    openapi_extra=operation(
        body=RotateRequest, example={"grace_seconds": 3600}, idempotent=True, path={"key_id": "Id of the old key."}
    ),
)
def rotate_key(call: BodyCall) -> Response:
    """Make a key that may do what the old one may, and end the old one at once or after ``grace_seconds``."""
    brain = _administered(call)
    request = call.parse(RotateRequest)
    return answer(brain.rotate_key(call.path("key_id"), **given(request), idempotency_key=call.idempotency_key), 201)


@router.post("/v1/admin/reindex", status_code=202, response_model=ReindexStatus, openapi_extra=operation())
def start_reindex(call: PlainCall) -> Response:
    """Start re-embedding to the configured embedder, or join the run under way."""
    brain = _administered(call)
    reindexing: Reindexing = call.request.app.state.reindexing
    return answer(reindexing.start(brain), 202)


@router.get("/v1/admin/reindex", response_model=ReindexStatus, openapi_extra=operation())
def reindex_status(call: PlainCall) -> Response:
    """How far re-embedding has come."""
    return answer(_administered(call).reindex_status())


@router.get("/v1/admin/audit", response_model=AuditPage, openapi_extra=operation(query=AuditRequest))
def audit(call: PlainCall) -> Response:
    """Who wrote, erased or administered what in this tenant, and what was refused; newest first."""
    return answer(_administered(call).audit(**given(call.query(AuditRequest))))


def _administered(call: Call) -> PersonalMemoryBrain:
    grant = call.grant("admin")
    grant.check_whole_tenant()
    return grant.brain
