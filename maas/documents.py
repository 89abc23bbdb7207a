"""Long texts: kept at once, read in one pass, recalled by passage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from maas.auditing import record
from maas.deciding import lasts
from maas.embedders.protocol import Embedder
from maas.idempotency import Repeatable
from maas.ids import sole
from maas.reading import Progress, Reading
from maas.recall.passages import passages
from maas.records import Deleted, Document, DocumentPage, Scope
from maas.redaction import Redactor, accepted
from maas.requests import DocumentListRequest, DocumentRequest, parse
from maas.storage.protocol import MemoryStore, ReadTransaction, WriteTransaction
from maas.storage.values import DocumentRow


class Documents:
    """The part of PersonalMemoryBrain that keeps long texts."""

    tenant: str
    actor: str
    _store: MemoryStore
    _embedder: Embedder
    _clock: Callable[[], datetime]
    _ids: Callable[[], str]
    _scopes: Callable[[ReadTransaction, str, str | None], Sequence[Scope]]
    _redact: Redactor | None

    def store_document(
        self,
        text: str,
        *,
        user_id: str,
        idempotency_key: str | None = None,
        on_progress: Progress | None = None,
        **fields: Any,
    ) -> Document:
        """Keep a text of any length, and read it to its end. ``fields`` are those of :class:`DocumentRequest`.

        The text is safe before reading begins. Whoever stores it again, after an interruption too, gets the same
        document, read on where it stopped.

        Raises:
            InvalidInputError: names every field at fault; nothing was written.
            ConflictError: the same text is being read by another process.
        """
        document = self.add_document(text, user_id=user_id, idempotency_key=idempotency_key, **fields)
        if document.state == "done":
            return document
        return self.read_document(document.id, user_id=document.user_id, on_progress=on_progress)

    def add_document(self, text: str, *, user_id: str, idempotency_key: str | None = None, **fields: Any) -> Document:
        """Keep the text; :meth:`read_document` makes it recallable."""
        request = accepted(self._redact, DocumentRequest, {"text": text, "user_id": user_id, **fields})
        scope, now = Scope(self.tenant, request.user_id), self._clock()
        repeatable = Repeatable(self.tenant, idempotency_key, "store document", [request])
        count = sum(1 for _ in passages(request.text))
        with self._store.write() as transaction:
            answered = repeatable.replay(transaction, now)
            known = transaction.document(scope, answered["id"]) if answered else None
            known = known or transaction.document_by_hash(scope, _hash(request))
            if known is not None and answered is None:
                if _is_over(known, now):
                    transaction.delete_document(scope, known.id)
                    known = None
                elif not lasts(known.expires_at, request.expires_at):
                    transaction.keep_document(scope, known.id, request.expires_at)
                    known = transaction.document(scope, known.id)
            if known is None:
                given = request.model_dump(exclude={"text", "created_at"})
                known = DocumentRow(
                    **given,
                    id=transaction.tag(scope) + self._ids(),
                    created_at=request.created_at or now,
                    stored_at=now,
                    text_hash=_hash(request),
                    characters=len(request.text),
                    passages=count,
                    read_passages=0,
                    state="reading",
                    error=None,
                    beat_at=now,
                    runner=None,
                    fingerprint=None,
                    vector=None,
                )
                transaction.add_document(scope, known, request.text)
                self._record(transaction, "store document", scope, known.id, count)
            if answered is None:
                repeatable.remember(transaction, {scope.user_id}, {"id": known.id}, now)
        return self._reading.describe(known)

    def read_document(
        self, document_id: str, *, user_id: str | None = None, on_progress: Progress | None = None
    ) -> Document:
        """Read a document that was added, or interrupted, to its end; blocks."""
        with self._store.read() as transaction:
            scope, _ = self._document(transaction, document_id, user_id)
        self._reading.run(scope, document_id, on_progress)
        return self.get_document(document_id, user_id=scope.user_id)

    def get_document(self, document_id: str, *, user_id: str | None = None) -> Document:
        """A document, how far it is read, and its vector once it is. Raises NotFoundError."""
        with self._store.read() as transaction:
            _, row = self._document(transaction, document_id, user_id)
        vector = None if row.vector is None else np.frombuffer(row.vector, "<f2").astype(float).tolist()
        return self._reading.describe(row).model_copy(update={"vector": vector})

    def list_documents(self, *, user_id: str, **fields: Any) -> DocumentPage:
        """A page of documents, the oldest first. ``fields`` are those of :class:`DocumentListRequest`."""
        request = parse(DocumentListRequest, {"user_id": user_id, **fields})
        with self._store.read() as transaction:
            scope, now = Scope(self.tenant, request.user_id), self._clock()
            rows = transaction.documents(scope, request.limit + 1, request.cursor or "", now)
        page = rows[: request.limit]
        cursor = page[-1].id if len(rows) > request.limit else None
        return DocumentPage(results=[self._reading.describe(row) for row in page], next_cursor=cursor)

    def delete_document(self, document_id: str, *, user_id: str | None = None) -> Deleted:
        """Remove a document with its passages; whoever is reading it stops."""
        with self._store.write() as transaction:
            scope, row = self._document(transaction, document_id, user_id)
            transaction.delete_document(scope, row.id)
            self._record(transaction, "delete document", scope, row.id, row.passages)
        return Deleted(id=document_id)

    def _record(self, transaction: WriteTransaction, action: str, scope: Scope, subject: str, count: int = 1) -> None:
        record(
            transaction,
            scope.tenant,
            self.actor,
            action,
            self._clock(),
            user_id=scope.user_id,
            subject=subject,
            count=count,
        )

    def unread_documents(self) -> list[tuple[str, str, str]]:
        """Tenant, user and id of each document, of every tenant, that nobody is reading to its end."""
        with self._store.read() as transaction:
            rows = transaction.unread_documents()
        now, left = self._clock(), [(t, row) for t, row in rows if self._reading.describe(row).state == "interrupted"]
        return [(tenant, row.user_id, row.id) for tenant, row in left if not _is_over(row, now)]

    def _document(
        self, transaction: ReadTransaction, document_id: str, user_id: str | None
    ) -> tuple[Scope, DocumentRow]:
        now, found = self._clock(), []
        for scope in self._scopes(transaction, document_id, user_id):
            row = transaction.document(scope, document_id)
            if row is not None and not _is_over(row, now):
                found.append((scope, row))
        return sole(found, "document", document_id)

    @property
    def _reading(self) -> Reading:
        return Reading(self._store, self._embedder, self._clock, self._ids, self.actor)


def _is_over(document: DocumentRow, now: datetime) -> bool:
    return document.expires_at is not None and document.expires_at <= now


def _hash(request: DocumentRequest) -> bytes:
    said = json.dumps([request.title, request.agent_id, request.text], ensure_ascii=False)
    return hashlib.blake2b(said.encode(), digest_size=16).digest()
