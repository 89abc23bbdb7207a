"""Keys and re-embedding on the SQLite database: the part of a reading transaction that serves administration."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import exists, func, select
from sqlalchemy.engine import Connection

from maas.records import ApiKey, Scope
from maas.storage import statements
from maas.storage.engine import Transaction
from maas.storage.protocol import Coverage, ReindexRun, Unembedded
from maas.storage.rows import API_KEY_COLUMNS, MEMORY_COLUMNS, to_api_key, to_memory
from maas.storage.tables import api_keys, memories, reindex_runs, spaces, user_spaces, users, vectors
from maas.storage.where import owned


class AdminQueries:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._driver = transaction.driver

    @property
    def _connection(self) -> Connection:
        return self._transaction.connection

    def api_key(self, key_id: str) -> tuple[ApiKey, bytes] | None:
        row = statements.API_KEY.first(self._driver, id=key_id)
        return None if row is None else (to_api_key(row[1:]), row[0])

    def api_keys(self, tenant: str) -> list[ApiKey]:
        query = (
            select(*API_KEY_COLUMNS)
            .where(api_keys.c.tenant_id == tenant)
            .order_by(api_keys.c.created_at, api_keys.c.id)
        )
        return [to_api_key(row) for row in self._connection.execute(query)]

    def any_api_key(self) -> bool:
        return self._connection.execute(select(api_keys.c.id).limit(1)).first() is not None

    def users(self) -> Iterator[Scope]:
        query = select(users.c.tenant_id, users.c.user_id).order_by(users.c.number)
        return (Scope(row.tenant_id, row.user_id) for row in self._connection.execute(query).all())

    def unembedded(self, scope: Scope, fingerprint: str, limit: int) -> list[Unembedded]:
        embedded = exists().where(
            vectors.c.tenant_id == scope.tenant,
            vectors.c.user_id == scope.user_id,
            vectors.c.space == select(spaces.c.space).where(spaces.c.fingerprint == fingerprint).scalar_subquery(),
            vectors.c.seq == memories.c.seq,
        )
        query = select(*MEMORY_COLUMNS, memories.c.seq).where(owned(scope), ~embedded)
        rows = self._connection.execute(query.order_by(memories.c.seq).limit(limit))
        return [Unembedded(row.seq, to_memory(row)) for row in rows]

    def progress(self, fingerprint: str) -> Coverage:
        embedded = select(func.coalesce(func.sum(user_spaces.c.vectors), 0)).join(
            spaces, spaces.c.space == user_spaces.c.space
        )
        return Coverage(
            self._connection.execute(embedded.where(spaces.c.fingerprint == fingerprint)).scalar_one(),
            self._connection.execute(select(func.coalesce(func.sum(users.c.memories), 0))).scalar_one(),
        )

    def last_reindex(self) -> ReindexRun | None:
        row = self._connection.execute(select(reindex_runs).order_by(reindex_runs.c.run.desc()).limit(1)).first()
        return None if row is None else ReindexRun(**row._asdict())
