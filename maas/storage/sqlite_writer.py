"""Changes to the SQLite database, inside one transaction that holds the writer's lock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Table, and_, delete, func, insert, select, text, update

from maas.ids import new_tag, tag_of
from maas.records import ApiKey, HistoryEntry, Scope
from maas.storage import statements
from maas.storage.engine import Transaction
from maas.storage.protocol import NewMemory, Remembered, Replacement, Unembedded
from maas.storage.rows import API_KEY_COLUMNS, UserRow, memory_values, to_api_key, words_of
from maas.storage.sessions import SessionChanges
from maas.storage.sqlite_documents import DocumentChanges
from maas.storage.sqlite_reader import Caches
from maas.storage.sqlite_upkeep import UpkeepChanges
from maas.storage.statements import owner
from maas.storage.tables import (
    api_keys,
    document_sources,
    documents,
    idempotency_keys,
    idempotency_users,
    memories,
    memory_versions,
    reindex_runs,
    spaces,
    user_spaces,
    user_tags,
    users,
    vectors,
)
from maas.storage.vector_index import pack
from maas.storage.where import owned

# '`' follows '_' in ASCII: the range holds every term of this user and none of another's.
_COUNT_TERMS = text(
    "SELECT count(DISTINCT doc) FROM memory_vocabulary WHERE term >= :number || '_' AND term < :number || '`'"
)

_OF_A_USER = (
    users,
    api_keys,
    user_tags,
    user_spaces,
    idempotency_users,
    documents,
    document_sources,
    memories,
    memory_versions,
    vectors,
)


class SqliteWriter(UpkeepChanges, DocumentChanges, SessionChanges):
    """Implements WriteTransaction; see maas/storage/protocol.py for what each method promises."""

    _writes = True

    def __init__(self, transaction: Transaction, caches: Caches) -> None:
        super().__init__(transaction, caches)
        self.erased: list[int] = []

    def _once(self, key: Any, ask: Callable[[], Any]) -> Any:
        """What a writer reads, it may just have changed."""
        return ask()

    def insert(self, scope: Scope, fingerprint: str, rows: Sequence[NewMemory]) -> list[int]:
        if not rows:
            return []
        user = self._touch_user(scope)
        self._register_tags(scope, {tag_of(row.memory.id) for row in rows})
        space = self._ensure_space(fingerprint, len(rows[0].vector))
        last = statements.LAST_SEQ.scalar(self._driver) or 0
        numbered = list(enumerate(rows, last + 1))
        statements.ADD_MEMORY.run_many(
            self._driver,
            (
                {
                    **memory_values(row.memory),
                    "seq": seq,
                    "tenant_id": scope.tenant,
                    "text_hash": row.text_hash,
                    "stored_at": row.stored_at,
                    "revision": user.revision,
                    "term_count": len(row.terms),
                }
                for seq, row in numbered
            ),
        )
        self._add_vectors(scope, space, [(seq, row.vector) for seq, row in numbered])
        terms = ({"seq": seq, "terms": words_of(user.number, row.terms)} for seq, row in numbered)
        statements.ADD_TERMS.run_many(self._driver, terms)
        self._add_versions(scope, [entry for row in rows for entry in row.history])
        return [seq for seq, _ in numbered]

    def replace(self, scope: Scope, fingerprint: str, row: Replacement) -> None:
        user = self._touch_user(scope)
        mine = and_(owned(scope), memories.c.id == row.memory.id)
        seq = self._connection.execute(select(memories.c.seq).where(mine)).scalar_one()
        values = {**memory_values(row.memory), "text_hash": row.text_hash, "revision": user.revision}
        if row.terms is not None:
            values["term_count"] = len(row.terms)
            statements.DROP_TERMS.run(self._driver, seq=seq)
            statements.ADD_TERMS.run(self._driver, seq=seq, terms=words_of(user.number, row.terms))
        self._connection.execute(update(memories).where(mine).values(values))
        if row.vector is not None:
            statements.DROP_VECTORS.run(self._driver, **owner(scope), seq=seq)
            self._add_vectors(scope, self._ensure_space(fingerprint, len(row.vector)), [(seq, row.vector)])
        self._add_versions(scope, [row.entry])

    def supersede(self, scope: Scope, old_id: str, new_id: str, said_at: datetime, now: datetime) -> None:
        user = self._touch_user(scope)
        change = {"superseded_by": new_id, "superseded_at": said_at, "updated_at": now, "revision": user.revision}
        statements.SUPERSEDE.run(self._driver, **owner(scope), old=old_id, **change)

    def delete(self, scope: Scope, memory_id: str) -> bool:
        mine = and_(owned(scope), memories.c.id == memory_id)
        seq = self._connection.execute(select(memories.c.seq).where(mine)).scalar()
        if seq is None:
            return False
        user = self._touch_user(scope, reset=True)
        own = owner(scope)
        statements.DROP_VECTORS.run(self._driver, **own, seq=seq)
        statements.DROP_TERMS.run(self._driver, seq=seq)
        statements.DROP_MEMORY.run(self._driver, **own, id=memory_id)
        statements.DROP_VERSIONS.run(self._driver, **own, id=memory_id)
        statements.REVIVE.run(self._driver, **own, id=memory_id, revision=user.revision)
        return True

    def delete_document(self, scope: Scope, document_id: str) -> None:
        mine = and_(owned(scope), memories.c.document_id == document_id)
        seqs = self._connection.execute(select(memories.c.seq).where(mine)).scalars().all()
        if seqs:
            self._touch_user(scope, reset=True)
            statements.DROP_VECTORS.run_many(self._driver, ({**owner(scope), "seq": seq} for seq in seqs))
            statements.DROP_TERMS.run_many(self._driver, ({"seq": seq} for seq in seqs))
            ids = select(memories.c.id).where(mine)
            self._connection.execute(
                delete(memory_versions).where(*_of(memory_versions, scope), memory_versions.c.memory_id.in_(ids))
            )
            self._connection.execute(delete(memories).where(mine))
        self.drop_document(scope, document_id)

    def erase(self, scope: Scope) -> tuple[dict[str, int], dict[str, int]]:
        user = self._user(scope)
        before = self._count(scope, user)
        if user is not None:
            doomed = select(memories.c.seq).where(owned(scope))
            seqs = self._connection.execute(doomed).scalars().all()
            statements.DROP_TERMS.run_many(self._driver, ({"seq": seq} for seq in seqs))
            self._caches.forget(user.number)
            self.erased.append(user.number)
        used = select(idempotency_users.c.key).where(*_of(idempotency_users, scope))
        self._connection.execute(
            delete(idempotency_keys).where(
                idempotency_keys.c.tenant_id == scope.tenant, idempotency_keys.c.key.in_(used)
            )
        )
        for table in reversed(_OF_A_USER):
            self._connection.execute(delete(table).where(*_of(table, scope)))
        self._hide_erased(scope)
        return before, self._count(scope, user)

    def remember(
        self, tenant: str, key: str, users: Collection[str], remembered: Remembered, at: datetime, prune: datetime
    ) -> None:
        ours = idempotency_keys.c.tenant_id == tenant
        self._connection.execute(delete(idempotency_keys).where(ours, idempotency_keys.c.created_at < prune))
        self._connection.execute(
            insert(idempotency_keys).values(tenant_id=tenant, key=key, created_at=at, **asdict(remembered))
        )
        rows = [{"tenant_id": tenant, "user_id": user, "key": key} for user in set(users)]
        if rows:
            self._connection.execute(insert(idempotency_users), rows)

    def add_api_key(self, key: ApiKey, secret_sha256: bytes) -> None:
        values = key.model_dump(exclude={"tenant"})
        self._connection.execute(insert(api_keys).values(tenant_id=key.tenant, secret_sha256=secret_sha256, **values))

    def revoke_api_key(self, tenant: str, key_id: str, at: datetime) -> ApiKey | None:
        ours = and_(api_keys.c.tenant_id == tenant, api_keys.c.id == key_id)
        unrevoked = update(api_keys).where(ours, api_keys.c.revoked_at.is_(None))
        self._connection.execute(unrevoked.values(revoked_at=at))
        row = self._connection.execute(select(*API_KEY_COLUMNS).where(ours)).first()
        return None if row is None else to_api_key(row)

    def add_vectors(
        self, scope: Scope, fingerprint: str, rows: Sequence[tuple[Unembedded, NDArray[np.float32]]]
    ) -> int:
        if not rows:
            return 0
        versions = {row.seq: row.memory.version for row, _ in rows}
        query = select(memories.c.seq, memories.c.version).where(owned(scope), memories.c.seq.in_(versions))
        unchanged = {seq for seq, version in self._connection.execute(query) if versions[seq] == version}
        space = self._ensure_space(fingerprint, len(rows[0][1]))
        embedded = select(vectors.c.seq).where(
            *_of(vectors, scope), vectors.c.space == space, vectors.c.seq.in_(versions)
        )
        unchanged -= set(self._connection.execute(embedded).scalars())
        fresh = [(row.seq, vector) for row, vector in rows if row.seq in unchanged]
        if fresh:
            user = self._touch_user(scope)
            self._add_vectors(scope, space, fresh)
            self._connection.execute(
                update(memories)
                .where(owned(scope), memories.c.seq.in_([seq for seq, _ in fresh]))
                .values(revision=user.revision)
            )
        return len(fresh)

    def place_vectors(self, scope: Scope, fingerprint: str, rows: Sequence[tuple[int, NDArray[np.floating]]]) -> None:
        if not rows:
            return
        space = self._ensure_space(fingerprint, len(rows[0][1]))
        self._drop_from(scope, space, [seq for seq, _ in rows])
        self._add_vectors(scope, space, rows)

    def drop_vectors(self, scope: Scope, fingerprint: str, seqs: Sequence[int]) -> None:
        space = self._space(fingerprint)
        if space is not None and seqs:
            self._drop_from(scope, space.space, seqs, reset=True)

    def _drop_from(self, scope: Scope, space: int, seqs: Sequence[int], *, reset: bool = False) -> None:
        """``reset`` unless the rows get other vectors in this very transaction."""
        user = self._touch_user(scope, reset=reset)
        own = owner(scope)
        statements.DROP_FROM_SPACE.run_many(self._driver, ({**own, "space": space, "row": seq} for seq in seqs))
        marks = ({**own, "row": seq, "at_revision": user.revision} for seq in seqs)
        statements.MARK_CHANGED.run_many(self._driver, marks)

    def drop_other_spaces(self, scope: Scope, fingerprint: str, *beside: str) -> None:
        if self.coverage(scope, fingerprint).complete:
            kept = select(spaces.c.space).where(spaces.c.fingerprint.in_([fingerprint, *beside]))
            self._connection.execute(delete(vectors).where(*_of(vectors, scope), vectors.c.space.not_in(kept)))

    def start_reindex(self, fingerprint: str, at: datetime) -> int:
        values = {"fingerprint": fingerprint, "state": "running", "started_at": at, "beat_at": at}
        query = insert(reindex_runs).values(values).returning(reindex_runs.c.run)
        return int(self._connection.execute(query).scalar_one())

    def beat_reindex(self, run: int, state: str, at: datetime, error: str | None = None) -> None:
        values: dict[str, Any] = {"state": state, "beat_at": at, "error": error}
        if state != "running":
            values["finished_at"] = at
        self._connection.execute(update(reindex_runs).where(reindex_runs.c.run == run).values(values))

    def touch(self) -> None:
        """A write that changes nothing: it fails where a real one would."""
        self._connection.execute(delete(users).where(users.c.number == -1))

    def _touch_user(self, scope: Scope, *, reset: bool = False) -> UserRow:
        """Count one more revision of the user's memories; make the user on the first."""
        row = statements.TOUCH_USER.first(self._driver, **owner(scope), reset=reset)
        if row is not None:
            return UserRow._make(row)
        tag = new_tag()
        new = {"tenant_id": scope.tenant, "user_id": scope.user_id, "tag": tag, "revision": 1}
        counts = {"reset_revision": 0, "memories": 0, "terms": 0}
        made = statements.ADD_USER.rows(self._driver, **new, **counts)
        self._register_tags(scope, {tag})
        return UserRow._make(made[0])

    def tag(self, scope: Scope) -> str:
        """What the ids of the user's memories start with."""
        user = self._user(scope)
        return str(user.tag if user is not None else self._touch_user(scope).tag)

    def _register_tags(self, scope: Scope, tags: Collection[str]) -> None:
        for tag in tags:
            statements.ADD_TAG.run(self._driver, tenant_id=scope.tenant, tag=tag, user_id=scope.user_id)

    def _ensure_space(self, fingerprint: str, dim: int) -> int:
        space = self._space(fingerprint)
        if space is not None:
            return int(space.space)
        query = insert(spaces).values(fingerprint=fingerprint, dim=dim).returning(spaces.c.space)
        return int(self._connection.execute(query).scalar_one())

    def _add_vectors(self, scope: Scope, space: int, rows: Sequence[tuple[int, NDArray[np.floating]]]) -> None:
        own = {"tenant_id": scope.tenant, "user_id": scope.user_id, "space": space}
        statements.ADD_VECTOR.run_many(
            self._driver, ({**own, "seq": seq, "vector": pack(vector)} for seq, vector in rows)
        )

    def _add_versions(self, scope: Scope, entries: Sequence[HistoryEntry]) -> None:
        own = {"tenant_id": scope.tenant, "user_id": scope.user_id}
        statements.ADD_VERSION.run_many(self._driver, ({**own, **vars(entry)} for entry in entries))

    def _count(self, scope: Scope, user: UserRow | None) -> dict[str, int]:
        counts = {
            table.name: self._connection.execute(
                select(func.count()).select_from(table).where(*_of(table, scope))
            ).scalar_one()
            for table in _OF_A_USER
        }
        number = None if user is None else user.number
        counts["memory_terms"] = self._connection.execute(_COUNT_TERMS, {"number": str(number)}).scalar_one()
        counts["audit_log"] = self._audited(scope)
        counts["vector_cache"] = 0 if number is None else self._caches.cached_vectors(number)
        return counts


def _of(table: Table, scope: Scope) -> tuple[Any, Any]:
    return table.c.tenant_id == scope.tenant, table.c.user_id == scope.user_id
