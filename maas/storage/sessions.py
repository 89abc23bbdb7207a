"""Sessions of the dashboard, in plain SQL that any database takes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select

from maas.storage.engine import Transaction
from maas.storage.tables import sessions
from maas.storage.values import Session


class SessionQueries:
    """For a reading transaction on its connection."""

    _transaction: Transaction[Any]

    def session(self, token_sha256: bytes) -> Session | None:
        found = select(sessions).where(sessions.c.token_sha256 == token_sha256)
        row = self._transaction.connection.execute(found).first()
        return None if row is None else Session(**row._asdict())


class SessionChanges:
    """For a writing transaction on its connection."""

    _transaction: Transaction[Any]

    def add_session(self, session: Session) -> None:
        values = {column.name: getattr(session, column.name) for column in sessions.columns}
        self._transaction.connection.execute(insert(sessions).values(values))

    def drop_session(self, token_sha256: bytes) -> None:
        self._transaction.connection.execute(delete(sessions).where(sessions.c.token_sha256 == token_sha256))

    def drop_sessions(self, ended: datetime) -> int:
        return self._transaction.connection.execute(delete(sessions).where(sessions.c.expires_at <= ended)).rowcount
