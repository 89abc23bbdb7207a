"""The lines of an export: JSON that carries everything of one user, so that a memory survives a move.

{"maas_export": 1, "user_id": …, "exported_at": …, "memories": n}
{"document": {…}, "text_hash": …, "source": text or null, "vectors": {…}}
{"memory": {…}, "stored_at": …, "history": [{…}], "vectors": {fingerprint: base64 of little-endian float16}}
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from maas.fields import DocumentText, Identifier, MemoryText, Metadata, Share, Timestamp
from maas.records import Event, Role, Scope
from maas.requests import Request
from maas.storage.protocol import MemoryStore
from maas.storage.values import DocumentRow, Exported

FORMAT = 1
_PAGE = 500


class HeaderLine(Request):
    maas_export: Literal[1]
    user_id: Identifier
    exported_at: Timestamp
    memories: int = Field(ge=0)


class MemoryFields(Request):
    id: Identifier
    user_id: Identifier
    text: MemoryText
    metadata: Metadata = Field(default_factory=dict)
    agent_id: Identifier | None = None
    session_id: Identifier | None = None
    role: Role | None = None
    name: Identifier | None = None
    key: Identifier | None = None
    importance: Share | None = None
    created_at: Timestamp
    updated_at: Timestamp
    expires_at: Timestamp | None = None
    superseded_by: Identifier | None = None
    superseded_at: Timestamp | None = None
    document_id: Identifier | None = None
    start: int | None = Field(None, ge=0, lt=2**63)
    end: int | None = Field(None, ge=0, lt=2**63)
    version: int = Field(1, ge=1, lt=2**31)


class DocumentFields(Request):
    id: Identifier
    user_id: Identifier
    title: Identifier | None = None
    metadata: Metadata = Field(default_factory=dict)
    agent_id: Identifier | None = None
    importance: Share | None = None
    created_at: Timestamp
    stored_at: Timestamp
    expires_at: Timestamp | None = None
    characters: int = Field(ge=1, lt=2**63)
    passages: int = Field(ge=1, lt=2**63)
    read_passages: int = Field(ge=0, lt=2**63)
    state: Literal["reading", "done"]


class DocumentLine(Request):
    """``source``: the whole text, while it is not read to its end; ``vectors``: of the whole document."""

    document: DocumentFields
    text_hash: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    source: DocumentText | None = None
    vectors: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if (self.source is None) == (self.document.state == "reading"):
            raise ValueError("a document has its source exactly while it is being read")
        return self

    @field_validator("vectors")
    @classmethod
    def _finite(cls, vectors: dict[str, str]) -> dict[str, str]:
        for encoded in vectors.values():
            try:
                blob = base64.b64decode(encoded, validate=True)
            except ValueError:
                raise ValueError("a vector is no base64") from None
            if not blob or len(blob) % 2 or not np.isfinite(np.frombuffer(blob, "<f2")).all():
                raise ValueError(f"a vector has {len(blob)} bytes; expected finite float16 numbers of two bytes each")
        return vectors


class VersionFields(Request):
    memory_id: Identifier
    version: int = Field(ge=1, lt=2**31)
    event: Event
    text: MemoryText
    metadata: Metadata = Field(default_factory=dict)
    importance: Share | None = None
    expires_at: Timestamp | None = None
    at: Timestamp
    valid_from: Timestamp | None = None
    actor: Identifier


class MemoryLine(Request):
    memory: MemoryFields
    stored_at: Timestamp
    history: list[VersionFields] = Field(default_factory=list)
    vectors: dict[str, str] = Field(default_factory=dict)


class Exporter:
    """Reads one user on one snapshot, a page at a time."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def lines(self, scope: Scope, now: datetime) -> Iterator[dict[str, Any]]:
        with self._store.read() as transaction:
            # The first question fixes the snapshot that the header and every page are read from.
            count = transaction.coverage(scope, "").memories
            header = {"maas_export": FORMAT, "user_id": scope.user_id, "exported_at": now, "memories": count}
            yield HeaderLine.model_validate(header).model_dump(mode="json")
            after = ""
            while documents := transaction.documents(scope, _PAGE, after):
                for row in documents:
                    yield _document_line(row, transaction.document_source(scope, row.id))
                after = documents[-1].id
            after = ""
            while page := transaction.export(scope, after, _PAGE):
                yield from map(_line, page)
                after = page[-1].memory.id


def _document_line(row: DocumentRow, source: str | None) -> dict[str, Any]:
    kept = {name: getattr(row, name) for name in DocumentFields.model_fields}
    whole = {} if row.vector is None else {str(row.fingerprint): base64.b64encode(row.vector).decode()}
    line = {"document": kept, "text_hash": row.text_hash.hex(), "source": source, "vectors": whole}
    return DocumentLine.model_validate(line).model_dump(mode="json")


def _line(exported: Exported) -> dict[str, Any]:
    return {
        "memory": exported.memory.model_dump(mode="json"),
        "stored_at": exported.stored_at.isoformat().replace("+00:00", "Z"),
        "history": [entry.model_dump(mode="json") for entry in exported.history],
        "vectors": {
            fingerprint: base64.b64encode(vector.astype("<f2").tobytes()).decode()
            for fingerprint, vector in exported.vectors.items()
        },
    }
