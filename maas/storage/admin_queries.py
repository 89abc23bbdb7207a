"""Keys, re-embedding and the audit log: the part of a reading transaction that serves administration."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import exists, func, select
from sqlalchemy.engine import Connection

from maas.ids import erased_id
from maas.records import ApiKey, AuditEntry, BackupRecord, Memory, Scope
from maas.storage import statements
from maas.storage.engine import Transaction
from maas.storage.rows import API_KEY_COLUMNS, MEMORY_COLUMNS, to_api_key, to_memory
from maas.storage.statements import owner
from maas.storage.tables import (
    api_keys,
    audit_log,
    backups,
    memories,
    reindex_runs,
    spaces,
    user_spaces,
    users,
    vectors,
)
from maas.storage.values import AuditQuery, Coverage, ReindexRun, Unembedded
from maas.storage.where import owned


class AdminQueries:
    def __init__(self, transaction: Transaction[Any]) -> None:
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

    def audit(self, tenant: str, query: AuditQuery) -> list[AuditEntry]:
        wanted = select(audit_log).where(audit_log.c.tenant_id == tenant)
        if query.user_id is not None:
            ids = (query.user_id, erased_id(tenant, query.user_id))
            wanted = wanted.where(audit_log.c.user_id.in_(ids))
        for column in (audit_log.c.actor, audit_log.c.action, audit_log.c.outcome):
            value = getattr(query, column.name)
            if value is not None:
                wanted = wanted.where(column == value)
        if query.since is not None:
            wanted = wanted.where(audit_log.c.at >= query.since)
        if query.until is not None:
            wanted = wanted.where(audit_log.c.at <= query.until)
        if query.before is not None:
            wanted = wanted.where(audit_log.c.number < query.before)
        rows = self._connection.execute(wanted.order_by(audit_log.c.number.desc()).limit(query.limit))
        return [AuditEntry.model_validate(row._asdict()) for row in rows]

    def expired(self, scope: Scope, now: datetime) -> list[Memory]:
        return [to_memory(row) for row in statements.EXPIRED_MEMORIES.each(self._driver, **owner(scope), now=now)]

    def backups(self) -> list[BackupRecord]:
        rows = self._connection.execute(select(backups.c.path, backups.c.made_at).order_by(backups.c.number))
        return [BackupRecord(name=Path(row.path).name, made_at=row.made_at) for row in rows]
