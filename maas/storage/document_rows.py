"""Documents in the database: rows about them; their passages are memories like any other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, and_, delete, insert, or_, select, tuple_, update

from maas.records import Memory, Scope
from maas.storage.engine import Transaction
from maas.storage.rows import MEMORY_COLUMNS, PACKED_VECTOR, to_memory
from maas.storage.tables import document_sources, documents, memories, spaces, vectors
from maas.storage.values import DocumentRow
from maas.storage.where import owned

_COLUMNS = tuple(documents.c[name] for name in DocumentRow.columns())


class DocumentQueries:
    _transaction: Transaction[Any]

    def document(self, scope: Scope, document_id: str) -> DocumentRow | None:
        return self._one(_mine(scope, document_id))

    def document_by_hash(self, scope: Scope, text_hash: bytes) -> DocumentRow | None:
        return self._one(and_(_own(scope), documents.c.text_hash == text_hash))

    def documents(self, scope: Scope, limit: int, after: str = "", now: datetime | None = None) -> list[DocumentRow]:
        query = select(*_COLUMNS).where(_own(scope), documents.c.id > after).order_by(documents.c.id).limit(limit)
        if now is not None:
            query = query.where(or_(documents.c.expires_at.is_(None), documents.c.expires_at > now))
        return [DocumentRow(*row) for row in self._transaction.connection.execute(query)]

    def unread_documents(self) -> list[tuple[str, DocumentRow]]:
        query = select(documents.c.tenant_id, *_COLUMNS).where(documents.c.state == "reading")
        return [(row[0], DocumentRow(*row[1:])) for row in self._transaction.connection.execute(query)]

    def expired_documents(self, scope: Scope, now: datetime) -> list[str]:
        own = (documents.c.tenant_id == scope.tenant, documents.c.user_id == scope.user_id)
        query = select(documents.c.id).where(*own, documents.c.expires_at <= now)
        return list(self._transaction.connection.execute(query).scalars())

    def document_source(self, scope: Scope, document_id: str) -> str | None:
        query = select(document_sources.c.text).where(*_source(scope, document_id))
        text: str | None = self._transaction.connection.execute(query).scalar()
        return text

    def encoder_state(self, scope: Scope, document_id: str) -> bytes | None:
        state: bytes | None = self._transaction.connection.execute(
            select(documents.c.encoder_state).where(_mine(scope, document_id))
        ).scalar()
        return state

    def passages(self, scope: Scope, document_id: str) -> list[tuple[int, Memory]]:
        query = select(memories.c.seq, *MEMORY_COLUMNS).where(owned(scope), memories.c.document_id == document_id)
        rows = self._transaction.connection.execute(query.order_by(memories.c.start))
        return [(row[0], to_memory(row[1:])) for row in rows]

    def passage_vectors(
        self, scope: Scope, document_id: str, fingerprint: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        query = (
            select(PACKED_VECTOR, memories.c.end - memories.c.start)
            .select_from(vectors)
            .join(
                memories,
                and_(
                    memories.c.tenant_id == vectors.c.tenant_id,
                    memories.c.user_id == vectors.c.user_id,
                    memories.c.seq == vectors.c.seq,
                ),
            )
            .join(spaces, spaces.c.space == vectors.c.space)
            .where(
                owned(scope),
                memories.c.document_id == document_id,
                vectors.c.tenant_id == scope.tenant,
                vectors.c.user_id == scope.user_id,
                spaces.c.fingerprint == fingerprint,
            )
        )
        rows = self._transaction.connection.execute(query).all()
        packed = np.frombuffer(b"".join(row[0] for row in rows), "<f2").astype(np.float32)
        return packed.reshape(len(rows), -1) if rows else packed, np.array([row[1] for row in rows], np.float32)

    def texts_at(
        self, scope: Scope, places: Collection[tuple[str, int]], *, ending: bool
    ) -> dict[tuple[str, int], str]:
        """Texts of the passages that begin, or end, at (document, character)."""
        side = memories.c.end if ending else memories.c.start
        query = select(memories.c.document_id, side, memories.c.text).where(
            owned(scope), tuple_(memories.c.document_id, side).in_(list(places))
        )
        return {(row[0], row[1]): row[2] for row in self._transaction.connection.execute(query)}

    def _one(self, which: ColumnElement[bool]) -> DocumentRow | None:
        row = self._transaction.connection.execute(select(*_COLUMNS).where(which)).first()
        return None if row is None else DocumentRow(*row)


class DocumentChanges(DocumentQueries):
    def add_document(self, scope: Scope, row: DocumentRow, text: str | None) -> None:
        values = {name: getattr(row, name) for name in DocumentRow.columns()}
        connection = self._transaction.connection
        connection.execute(insert(documents).values(tenant_id=scope.tenant, **values | {"user_id": scope.user_id}))
        if text is not None:
            own = {"tenant_id": scope.tenant, "user_id": scope.user_id, "document_id": row.id}
            connection.execute(insert(document_sources).values(**own, text=text))

    def change_document(self, scope: Scope, document_id: str, **values: Any) -> None:
        self._transaction.connection.execute(update(documents).where(_mine(scope, document_id)).values(**values))

    def drop_source(self, scope: Scope, document_id: str) -> None:
        self._transaction.connection.execute(delete(document_sources).where(*_source(scope, document_id)))

    def drop_document(self, scope: Scope, document_id: str) -> None:
        self.drop_source(scope, document_id)
        self._transaction.connection.execute(delete(documents).where(_mine(scope, document_id)))


def _own(scope: Scope) -> ColumnElement[bool]:
    return and_(documents.c.tenant_id == scope.tenant, documents.c.user_id == scope.user_id)


def _mine(scope: Scope, document_id: str) -> ColumnElement[bool]:
    return and_(_own(scope), documents.c.id == document_id)


def _source(scope: Scope, document_id: str) -> Sequence[ColumnElement[bool]]:
    table = document_sources.c
    return table.tenant_id == scope.tenant, table.user_id == scope.user_id, table.document_id == document_id
