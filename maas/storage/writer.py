"""Changes inside one writing transaction, but for words: SQLite and PostgreSQL keep these each in its own way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Table, and_, delete, func, insert, select, update

from maas.ids import new_tag, tag_of
from maas.records import ApiKey, HistoryEntry, Scope
from maas.storage import statements
from maas.storage.document_rows import DocumentChanges
from maas.storage.engine import Transaction
from maas.storage.reader import Caches
from maas.storage.rows import API_KEY_COLUMNS, UserRow, memory_values, to_api_key
from maas.storage.sessions import SessionChanges
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
from maas.storage.upkeep_changes import UpkeepChanges
from maas.storage.values import DocumentRow, NewMemory, Remembered, Replacement, Unembedded
from maas.storage.vector_index import pack
from maas.storage.where import owned

# Row, user number, terms of the row.
IndexedTerms = tuple[int, int, Sequence[str]]

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


class Writer(UpkeepChanges, DocumentChanges, SessionChanges):
    """Implements WriteTransaction; see maas/storage/protocol.py for what each method promises."""

    _writes = True

    def __init__(self, transaction: Transaction[Any], caches: Caches) -> None:
        super().__init__(transaction, caches)
        self.erased: list[int] = []

    def _once(self, key: Any, ask: Callable[[], Any]) -> Any:
        """What a writer reads, it may just have changed."""
        return ask()

    def insert(self, fingerprint: str, rows: Mapping[Scope, Sequence[NewMemory]]) -> dict[Scope, list[int]]:
        added = {scope: own for scope, own in rows.items() if own}
        if not added:
            return {}
        self.hold(added)
        touched = {scope: self._touch_user(scope) for scope in added}
        for scope, own in added.items():
            self._register_tags(scope, {tag_of(row.memory.id) for row in own} - {touched[scope].tag})
        everything = [(scope, row) for scope, own in added.items() for row in own]
        space = self._ensure_space(fingerprint, len(everything[0][1].vector))
        numbered = list(zip(self._next_seqs(len(everything)), everything, strict=True))
        values = (
            {
                **memory_values(row.memory),
                "seq": seq,
                "tenant_id": scope.tenant,
                "text_hash": row.text_hash,
                "stored_at": row.stored_at,
                "revision": touched[scope].revision,
                "term_count": len(row.terms),
            }
            for seq, (scope, row) in numbered
        )
        self._add_memories(values, [(seq, touched[scope].number, row.terms) for seq, (scope, row) in numbered])
        self._add_vectors(space, ((scope, seq, row.vector) for seq, (scope, row) in numbered))
        self._add_versions((scope, entry) for scope, row in everything for entry in row.history)
        self._count_memories((scope, len(own), sum(len(row.terms) for row in own)) for scope, own in added.items())
        self._count_vectors(space, ((scope, len(own)) for scope, own in added.items()))
        seqs = iter(numbered)
        return {scope: [seq for seq, _ in islice(seqs, len(own))] for scope, own in added.items()}

    def replace(self, scope: Scope, fingerprint: str, row: Replacement) -> None:
        # A new text takes the row's vectors out of every other space, and may get none there again.
        user = self._touch_user(scope, reset=row.vector is not None)
        mine = and_(owned(scope), memories.c.id == row.memory.id)
        seq, counted = self._connection.execute(select(memories.c.seq, memories.c.term_count).where(mine)).one()
        values = {**memory_values(row.memory), "text_hash": row.text_hash, "revision": user.revision}
        if row.terms is not None:
            values["term_count"] = len(row.terms)
            self._change_terms(scope, seq, user.number, row.terms)
            self._count_memories([(scope, 0, len(row.terms) - counted)])
        self._connection.execute(update(memories).where(mine).values(values))
        if row.vector is not None:
            self._drop_vectors_of(scope, [seq])
            self._place(scope, self._ensure_space(fingerprint, len(row.vector)), [(seq, row.vector)])
        self._add_versions([(scope, row.entry)])

    def supersede(self, scope: Scope, old_id: str, new_id: str, said_at: datetime, now: datetime) -> None:
        user = self._touch_user(scope)
        change = {"superseded_by": new_id, "superseded_at": said_at, "updated_at": now, "revision": user.revision}
        statements.SUPERSEDE.run(self._driver, **owner(scope), old=old_id, **change)

    def delete(self, scope: Scope, memory_id: str) -> bool:
        mine = and_(owned(scope), memories.c.id == memory_id)
        columns = (memories.c.seq, memories.c.term_count, memories.c.superseded_by, memories.c.superseded_at)
        row = self._connection.execute(select(*columns).where(mine)).first()
        if row is None:
            return False
        self._touch_user(scope, reset=True)
        own = owner(scope)
        self._drop_vectors_of(scope, [row.seq])
        self._drop_terms([row.seq])
        self._count_memories([(scope, -1, -row.term_count)])
        statements.DROP_MEMORY.run(self._driver, **own, id=memory_id)
        statements.DROP_VERSIONS.run(self._driver, **own, id=memory_id)
        self.revive(scope, memory_id, row.superseded_by, row.superseded_at)
        return True

    def revive(
        self, scope: Scope, gone: str, superseded_by: str | None = None, superseded_at: datetime | None = None
    ) -> None:
        user = self._touch_user(scope)
        newer = {"superseded_by": superseded_by, "superseded_at": superseded_at}
        statements.REVIVE.run(self._driver, **owner(scope), id=gone, revision=user.revision, **newer)

    def keep_document(self, scope: Scope, document_id: str, until: datetime | None) -> None:
        user = self._touch_user(scope)
        passages = and_(owned(scope), memories.c.document_id == document_id)
        self._connection.execute(update(memories).where(passages).values(expires_at=until, revision=user.revision))
        self.change_document(scope, document_id, expires_at=until)

    def delete_document(self, scope: Scope, document_id: str) -> None:
        mine = and_(owned(scope), memories.c.document_id == document_id)
        rows = self._connection.execute(select(memories.c.seq, memories.c.term_count).where(mine)).all()
        if rows:
            self._touch_user(scope, reset=True)
            seqs = [row.seq for row in rows]
            self._drop_vectors_of(scope, seqs)
            self._drop_terms(seqs)
            self._count_memories([(scope, -len(rows), -sum(row.term_count for row in rows))])
            other = memories.alias()
            heirs = select(other.c.superseded_by).where(
                other.c.tenant_id == scope.tenant, other.c.user_id == scope.user_id, other.c.superseded_by.is_not(None)
            )
            columns = (memories.c.id, memories.c.superseded_by, memories.c.superseded_at)
            for passage in self._connection.execute(select(memories.c.id).where(mine, memories.c.id.in_(heirs))).all():
                # Each is asked for anew: one passage may have superseded another.
                heir = select(*columns).where(owned(scope), memories.c.id == passage.id)
                self.revive(scope, *self._connection.execute(heir).one())
            ids = select(memories.c.id).where(mine)
            self._connection.execute(
                delete(memory_versions).where(*of(memory_versions, scope), memory_versions.c.memory_id.in_(ids))
            )
            self._connection.execute(delete(memories).where(mine))
        self.drop_document(scope, document_id)

    def erase(self, scope: Scope) -> tuple[dict[str, int], dict[str, int]]:
        user = self._user(scope)
        before = self._count(scope, user)
        if user is not None:
            doomed = select(memories.c.seq).where(owned(scope))
            self._drop_terms(self._connection.execute(doomed).scalars().all())
            self._caches.forget(user.number)
            self._touched.pop(scope, None)
            self.erased.append(user.number)
        used = select(idempotency_users.c.key).where(*of(idempotency_users, scope))
        self._connection.execute(
            delete(idempotency_keys).where(
                idempotency_keys.c.tenant_id == scope.tenant, idempotency_keys.c.key.in_(used)
            )
        )
        for table in reversed(_OF_A_USER):
            self._connection.execute(delete(table).where(*of(table, scope)))
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
            *of(vectors, scope), vectors.c.space == space, vectors.c.seq.in_(versions)
        )
        unchanged -= set(self._connection.execute(embedded).scalars())
        fresh = [(row.seq, vector) for row, vector in rows if row.seq in unchanged]
        if fresh:
            user = self._touch_user(scope)
            self._place(scope, space, fresh)
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
        self._place(scope, space, rows)

    def drop_vectors(self, scope: Scope, fingerprint: str, seqs: Sequence[int]) -> None:
        space = self._space(fingerprint)
        if space is not None and seqs:
            self._drop_from(scope, space.space, seqs, reset=True)

    def _drop_from(self, scope: Scope, space: int, seqs: Sequence[int], *, reset: bool = False) -> None:
        """``reset`` unless the rows get other vectors in this very transaction."""
        user = self._touch_user(scope, reset=reset)
        own = owner(scope)
        self._drop_vectors_of(scope, seqs, space)
        marks = ({**own, "row": seq, "at_revision": user.revision} for seq in seqs)
        statements.MARK_CHANGED.run_many(self._driver, marks)

    def drop_other_spaces(self, scope: Scope, fingerprint: str, *beside: str) -> None:
        if self.coverage(scope, fingerprint).complete:
            kept = select(spaces.c.space).where(spaces.c.fingerprint.in_([fingerprint, *beside]))
            dropped = [
                self._connection.execute(delete(table).where(*of(table, scope), table.c.space.not_in(kept))).rowcount
                for table in (vectors, user_spaces)
            ]
            if any(dropped):
                self._touch_user(scope)

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
        self._connection.execute(delete(users).where(users.c.tenant_id == "", users.c.user_id == ""))

    def _touch_user(self, scope: Scope, *, reset: bool = False) -> UserRow:
        """Count one more revision of the user's memories, once a transaction; make the user on the first."""
        touched = self._touched.get(scope)
        if touched is not None and (touched.reset_revision == touched.revision or not reset):
            return touched
        row = statements.TOUCH_USER.first(self._driver, **owner(scope), reset=reset)
        if row is None:
            tag = new_tag()
            new = {"tenant_id": scope.tenant, "user_id": scope.user_id, "tag": tag, "revision": 1}
            counts = {"reset_revision": 0, "memories": 0, "terms": 0}
            (row,) = statements.ADD_USER.rows(self._driver, **new, **counts)
            self._register_tags(scope, {tag})
        self._touched[scope] = user = UserRow._make(row)
        return user

    def tag(self, scope: Scope) -> str:
        """What the ids of the user's memories start with."""
        return str(self._touch_user(scope).tag)

    def add_document(self, scope: Scope, row: DocumentRow, text: str | None) -> None:
        own = self._touch_user(scope).tag
        self._register_tags(scope, {tag_of(row.id)} - {own})  # one that was imported has its id from elsewhere
        super().add_document(scope, row, text)

    def _register_tags(self, scope: Scope, tags: Collection[str]) -> None:
        for tag in tags:
            statements.ADD_TAG.run(self._driver, tenant_id=scope.tenant, tag=tag, user_id=scope.user_id)

    def _ensure_space(self, fingerprint: str, dim: int) -> int:
        space = self._space(fingerprint)
        if space is not None:
            return int(space.space)
        made = statements.ADD_SPACE.scalar(self._driver, fingerprint=fingerprint, dim=dim)
        if made is None:  # another process has made it in this moment
            made = statements.SPACE.scalar(self._driver, fingerprint=fingerprint)
        return int(made)

    def _place(self, scope: Scope, space: int, rows: Sequence[tuple[int, NDArray[np.floating]]]) -> None:
        self._add_vectors(space, ((scope, seq, vector) for seq, vector in rows))
        self._count_vectors(space, [(scope, len(rows))])

    def _add_vectors(self, space: int, rows: Iterable[tuple[Scope, int, NDArray[np.floating]]]) -> None:
        values = (
            {"tenant_id": scope.tenant, "user_id": scope.user_id, "space": space, "seq": seq, "vector": pack(vector)}
            for scope, seq, vector in rows
        )
        statements.ADD_VECTOR.run_many(self._driver, values)

    def _add_versions(self, entries: Iterable[tuple[Scope, HistoryEntry]]) -> None:
        values = ({"tenant_id": scope.tenant, "user_id": scope.user_id, **vars(entry)} for scope, entry in entries)
        statements.ADD_VERSION.run_many(self._driver, values)

    def _count(self, scope: Scope, user: UserRow | None) -> dict[str, int]:
        counts = {
            table.name: self._connection.execute(
                select(func.count()).select_from(table).where(*of(table, scope))
            ).scalar_one()
            for table in _OF_A_USER
        }
        number = None if user is None else user.number
        counts["memory_terms"] = self._indexed(scope, number)
        counts["audit_log"] = self._audited(scope)
        counts["vector_cache"] = 0 if number is None else self._caches.cached_vectors(number)
        return counts

    # What the databases do each in its own way.

    def hold(self, scopes: Collection[Scope]) -> None:
        raise NotImplementedError

    def _next_seqs(self, n: int) -> Sequence[int]:
        """Numbers for ``n`` new rows, ascending, above those of all rows the user has."""
        raise NotImplementedError

    def _add_memories(self, rows: Iterable[dict[str, Any]], terms: Sequence[IndexedTerms]) -> None:
        raise NotImplementedError

    def _change_terms(self, scope: Scope, seq: int, number: int, terms: Sequence[str]) -> None:
        raise NotImplementedError

    def _drop_terms(self, seqs: Sequence[int]) -> None:
        """What is to go before the rows themselves do."""
        raise NotImplementedError

    def _drop_vectors_of(self, scope: Scope, seqs: Sequence[int], space: int | None = None) -> None:
        """From one space, or from all."""
        raise NotImplementedError

    def _indexed(self, scope: Scope, number: int | None) -> int:
        """How many of the user's memories are in the index of words."""
        raise NotImplementedError

    def _count_memories(self, more: Iterable[tuple[Scope, int, int]]) -> None:
        """Note that a user has so many more memories and terms of them; triggers do this on SQLite."""

    def _count_vectors(self, space: int, more: Iterable[tuple[Scope, int]]) -> None:
        """Note that a user has so many more; triggers do this on SQLite."""


def of(table: Table, scope: Scope) -> tuple[Any, Any]:
    return table.c.tenant_id == scope.tenant, table.c.user_id == scope.user_id
