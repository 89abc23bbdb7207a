"""One place that knows how each method looks on the wire; both clients send what is built here.

Arguments are validated by the models the server uses, so a wrong one raises before anything is sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import numpy as np
from pydantic import BaseModel

from maas.embedders.protocol import Vectors
from maas.records import (
    ApiKey,
    ContextResponse,
    Deleted,
    Document,
    DocumentPage,
    Embeddings,
    ErasureReceipt,
    History,
    ImportReport,
    KeyList,
    Memory,
    NewApiKey,
    Page,
    RecallResponse,
    ReindexStatus,
    StoreResponse,
    UserPage,
)
from maas.requests import (
    BatchRequest,
    ContextRequest,
    DocumentListRequest,
    DocumentRequest,
    EncodeRequest,
    KeyRequest,
    ListRequest,
    RecallRequest,
    StoreRequest,
    UpdateRequest,
    UserListRequest,
    parse,
)

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

JSON = "application/json"
JSON_LINES = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One HTTP request, and how to read its answer.

    ``keyed`` calls carry an Idempotency-Key, the caller's or a made one, so that sending them again is harmless.
    ``once``: the answer tells what was there, and a second one would tell that nothing was; so the call is sent again
    only where the first surely did nothing.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    params: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    keyed: bool = False
    idempotency_key: str | None = None
    once: bool = False


def store(given: Mapping[str, Any], idempotency_key: str | None) -> Call[StoreResponse]:
    request = parse(StoreRequest, _without_none(given))
    return _write("/v1/memories", request, _reader(StoreResponse), idempotency_key)


def store_batch(memories: Sequence[Mapping[str, Any] | StoreRequest], key: str | None) -> Call[StoreResponse]:
    request = parse(BatchRequest, {"memories": list(memories)})
    return _write("/v1/memories/batch", request, _reader(StoreResponse), key)


def recall(given: Mapping[str, Any]) -> Call[RecallResponse]:
    return Call(
        "POST", "/v1/recall", _reader(RecallResponse), content=_body(parse(RecallRequest, _without_none(given)))
    )


def context(given: Mapping[str, Any]) -> Call[ContextResponse]:
    request = parse(ContextRequest, _without_none(given))
    return Call("POST", "/v1/context", _reader(ContextResponse), content=_body(request))


def store_document(given: Mapping[str, Any], key: str | None) -> Call[Document]:
    return _write("/v1/documents", parse(DocumentRequest, _without_none(given)), _reader(Document), key)


def get_document(document_id: str, user_id: str | None) -> Call[Document]:
    return Call("GET", _path("/v1/documents/{}", document_id), _reader(Document), _owner(user_id))


def list_documents(given: Mapping[str, Any]) -> Call[DocumentPage]:
    fields = parse(DocumentListRequest, _without_none(given)).model_dump(mode="json", exclude_unset=True)
    return Call("GET", "/v1/documents", _reader(DocumentPage), {name: str(value) for name, value in fields.items()})


def delete_document(document_id: str, user_id: str | None) -> Call[Deleted]:
    return Call("DELETE", _path("/v1/documents/{}", document_id), _reader(Deleted), _owner(user_id), once=True)


def list_memories(given: Mapping[str, Any]) -> Call[Page]:
    request = parse(ListRequest, _without_none(given))
    fields = request.model_dump(mode="json", exclude_unset=True)
    params = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return Call("GET", "/v1/memories", _reader(Page), params)


def get(memory_id: str, user_id: str | None) -> Call[Memory]:
    return Call("GET", _path("/v1/memories/{}", memory_id), _reader(Memory), _owner(user_id))


def update(memory_id: str, user_id: str | None, changes: Mapping[str, Any], key: str | None) -> Call[Memory]:
    return Call(
        "PATCH",
        _path("/v1/memories/{}", memory_id),
        _reader(Memory),
        _owner(user_id),
        _body(parse(UpdateRequest, changes)),
        keyed=True,
        idempotency_key=key,
    )


def delete(memory_id: str, user_id: str | None) -> Call[Deleted]:
    return Call("DELETE", _path("/v1/memories/{}", memory_id), _reader(Deleted), _owner(user_id), once=True)


def history(memory_id: str, user_id: str | None) -> Call[History]:
    return Call("GET", _path("/v1/memories/{}/history", memory_id), _reader(History), _owner(user_id))


def erase_user(user_id: str) -> Call[ErasureReceipt]:
    return Call("DELETE", _path("/v1/users/{}", user_id), _reader(ErasureReceipt), once=True)


def export_user(user_id: str) -> Call[dict[str, Any]]:
    """``read`` takes one line."""
    return Call("GET", _path("/v1/users/{}/export", user_id), _json)


def import_memories(user_id: str | None, key: str | None) -> Call[ImportReport]:
    """The lines are streamed beside the call."""
    return Call("POST", "/v1/import", _reader(ImportReport), _owner(user_id), keyed=True, idempotency_key=key)


def encode(texts: Sequence[str]) -> Call[Vectors]:
    request = parse(EncodeRequest, {"texts": list(texts)})
    return Call("POST", "/encode", _vectors, content=_body(request))


def list_users(given: Mapping[str, Any]) -> Call[UserPage]:
    request = parse(UserListRequest, _without_none(given))
    return Call("GET", "/v1/users", _reader(UserPage), request.model_dump(mode="json", exclude_none=True))


def create_key(fields: Mapping[str, Any], key: str | None) -> Call[NewApiKey]:
    return _write("/v1/keys", parse(KeyRequest, fields), _reader(NewApiKey), key)


def list_keys() -> Call[KeyList]:
    return Call("GET", "/v1/keys", _reader(KeyList))


def revoke_key(key_id: str) -> Call[ApiKey]:
    return Call("DELETE", _path("/v1/keys/{}", key_id), _reader(ApiKey))


def start_reindex() -> Call[ReindexStatus]:
    return Call("POST", "/v1/admin/reindex", _reader(ReindexStatus))


def reindex_status() -> Call[ReindexStatus]:
    return Call("GET", "/v1/admin/reindex", _reader(ReindexStatus))


def ready() -> Call[None]:
    return Call("GET", "/readyz", lambda _: None)


def json_line(line: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(line), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _write(path: str, request: BaseModel, read: Callable[[bytes], T], key: str | None) -> Call[T]:
    return Call("POST", path, read, content=_body(request), keyed=True, idempotency_key=key)


def _body(request: BaseModel) -> bytes:
    return request.model_dump_json(exclude_unset=True).encode()


def _reader(model: type[M]) -> Callable[[bytes], M]:
    return model.model_validate_json


def _json(content: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(content)
    return value


def _vectors(content: bytes) -> Vectors:
    answer = Embeddings.model_validate_json(content)
    return np.asarray(answer.embeddings, dtype=np.float32).reshape(-1, answer.dim)


def _owner(user_id: str | None) -> dict[str, str]:
    return {} if user_id is None else {"user_id": user_id}


def _path(template: str, part: str) -> str:
    """Fill in ``part`` so that it stays one segment; a bare ``.`` or ``..`` would be resolved away by URL rules."""
    encoded = quote(part, safe="")
    return template.format(encoded.replace(".", "%2E") if encoded.strip(".") == "" else encoded)


def _without_none(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
