"""Queries on one snapshot, but for vectors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, or_, select

from maas.ids import tag_of
from maas.recall.lexical import Layout, Posting, bm25, highest
from maas.records import HistoryEntry, Memory, Scope
from maas.storage import statements
from maas.storage.admin_queries import AdminQueries
from maas.storage.by_dialect import joined
from maas.storage.cache import ByteBoundedCache, Sized
from maas.storage.document_rows import DocumentQueries
from maas.storage.engine import Transaction
from maas.storage.facts import AtRevision, Facts, narrowing_key, numbers
from maas.storage.postings import KeptPosting, postings_of
from maas.storage.rows import MEMORY_COLUMNS, PACKED_VECTOR, SpaceRow, UserRow, to_entry, to_memory
from maas.storage.sessions import SessionQueries
from maas.storage.statements import owner
from maas.storage.tables import (
    idempotency_keys,
    memories,
    memory_versions,
    spaces,
    user_tags,
    users,
    vectors,
)
from maas.storage.time_queries import TimeQueries
from maas.storage.turn_table import TurnGroup, Turns, TurnTable
from maas.storage.user_list import UserListQueries
from maas.storage.values import Coverage, Exported, Hits, LexicalHits, Remembered, Seqs, SessionTurn, Span, Where
from maas.storage.vector_index import VectorIndex, unpack
from maas.storage.where import live, narrowed, owned

_REVISION_BITS = 40
# Of the settings' bytes, what goes to turn tables, about 108 bytes a memory against 792 of a vector, to where terms
# occur, 16 bytes a memory that holds one, to the rows that filters name, and to what is known of users.
_TURNS_SHARE = 0.1
_POSTINGS_SHARE = 0.1
_NARROWINGS_SHARE = 0.02
_FACTS_SHARE = 0.02
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
V = TypeVar("V", bound=Sized)
NOTHING = Hits(np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class Caches:
    """What the store keeps in memory between transactions, by user number and what else tells them apart."""

    vectors: ByteBoundedCache[VectorIndex]
    narrowings: ByteBoundedCache[AtRevision[Seqs]]
    facts: ByteBoundedCache[AtRevision[Facts]]
    turns: ByteBoundedCache[TurnTable]
    postings: ByteBoundedCache[KeptPosting]
    # Rows of a table that only grows: once committed, a space stays as it is.
    spaces: dict[str, SpaceRow] = field(default_factory=dict)
    # Users whose indexed words were counted, and are all there.
    counted: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, limit: int) -> Caches:
        """Caches of ``limit`` bytes together."""
        shares = (_TURNS_SHARE, _POSTINGS_SHARE, _NARROWINGS_SHARE, _FACTS_SHARE)
        turns, postings, narrowings, facts = (int(limit * share) for share in shares)
        return cls(
            vectors=ByteBoundedCache(limit - turns - postings - narrowings - facts),
            narrowings=ByteBoundedCache(narrowings),
            facts=ByteBoundedCache(facts),
            turns=ByteBoundedCache(turns),
            postings=ByteBoundedCache(postings),
        )

    def forget(self, number: int) -> None:
        for cache in (self.vectors, self.narrowings, self.postings):
            cache.drop(lambda key: isinstance(key, tuple) and key[0] == number)
        for by_number in (self.facts, self.turns):
            by_number.drop(lambda key: key == number)
        self.counted.discard(number)

    def cached_vectors(self, number: int) -> int:
        """How many vectors of the user lie in memory."""
        return sum(len(index) for key, index in self.vectors.items() if isinstance(key, tuple) and key[0] == number)

    def clear(self) -> None:
        self.vectors.clear()
        self.narrowings.clear()
        self.facts.clear()
        self.turns.clear()
        self.postings.clear()
        self.spaces.clear()
        self.counted.clear()


class Reader(AdminQueries, TimeQueries, DocumentQueries, SessionQueries, UserListQueries):
    """Implements ReadTransaction; see maas/storage/protocol.py for what each method promises."""

    _writes = False

    def __init__(self, transaction: Transaction[Any], caches: Caches) -> None:
        super().__init__(transaction)
        self._caches = caches
        self._known: dict[Any, Any] = {}
        self._touched: dict[Scope, UserRow] = {}

    def owners(self, tenant: str, memory_id: str) -> list[str]:
        tags = select(user_tags.c.user_id, users.c.tag).join(
            users, and_(users.c.tenant_id == user_tags.c.tenant_id, users.c.user_id == user_tags.c.user_id)
        )
        tag = tag_of(memory_id)
        rows = self._connection.execute(tags.where(user_tags.c.tenant_id == tenant, user_tags.c.tag == tag))
        return [row.user_id for row in sorted(rows, key=lambda row: (row.tag != tag, row.user_id))]

    def get(self, scope: Scope, memory_id: str) -> Memory | None:
        row = statements.BY_ID.first(self._driver, **owner(scope), id=memory_id)
        return None if row is None else to_memory(row)

    def existing_ids(self, scope: Scope, ids: Collection[str]) -> set[str]:
        return {row[0] for row in statements.EXISTING_IDS.each(self._driver, **owner(scope), ids=ids)}

    def by_hash(self, scope: Scope, hashes: Collection[bytes], now: datetime) -> dict[bytes, Memory]:
        found = {}
        for text_hash in hashes:
            row = statements.LIVE_BY_HASH.first(self._driver, **owner(scope), hash=text_hash, now=now)
            if row is not None:
                found[text_hash] = to_memory(row)
        return found

    def by_key(self, scope: Scope, keys: Collection[str]) -> dict[str, Memory]:
        rows = map(to_memory, statements.BY_KEY.each(self._driver, **owner(scope), keys=keys))
        return {memory.key: memory for memory in rows if memory.key is not None}

    def by_seq(self, scope: Scope, seqs: Collection[int]) -> dict[int, Memory]:
        rows = statements.BY_SEQ.each(self._driver, **owner(scope), seqs=seqs)
        return {row[-1]: to_memory(row) for row in rows}

    def ids(self, scope: Scope, seqs: Collection[int]) -> dict[int, str]:
        return dict(statements.IDS_BY_SEQ.rows(self._driver, **owner(scope), seqs=seqs))

    def texts(self, scope: Scope, seqs: Collection[int]) -> dict[int, str]:
        return dict(statements.TEXTS_BY_SEQ.rows(self._driver, **owner(scope), seqs=seqs))

    def page(
        self, scope: Scope, where: Where, limit: int, after: tuple[datetime, int] | None = None
    ) -> list[tuple[int, Memory]]:
        query = select(*MEMORY_COLUMNS, memories.c.seq).where(owned(scope), live(where), narrowed(where))
        if after is not None:
            at, seq = after
            query = query.where(
                or_(memories.c.created_at < at, and_(memories.c.created_at == at, memories.c.seq < seq))
            )
        query = query.order_by(memories.c.created_at.desc(), memories.c.seq.desc()).limit(limit)
        return [(row.seq, to_memory(row)) for row in self._connection.execute(query)]

    def history(self, scope: Scope, memory_id: str) -> list[HistoryEntry]:
        query = select(memory_versions).where(
            memory_versions.c.tenant_id == scope.tenant,
            memory_versions.c.user_id == scope.user_id,
            memory_versions.c.memory_id == memory_id,
        )
        return [to_entry(row) for row in self._connection.execute(query.order_by(memory_versions.c.version))]

    def revisions(self, scopes: Collection[Scope]) -> dict[Scope, int]:
        by_tenant: dict[str, list[str]] = defaultdict(list)
        for scope in scopes:
            by_tenant[scope.tenant].append(scope.user_id)
        found = dict.fromkeys(scopes, 0)
        for tenant, own in by_tenant.items():
            for user in map(UserRow._make, statements.USERS.each(self._driver, tenant=tenant, users=own)):
                # With the user's number in front, so that somebody erased and stored again does not start over.
                found[Scope(tenant, user.user_id)] = user.number << _REVISION_BITS | user.revision
        return found

    def coverage(self, scope: Scope, fingerprint: str) -> Coverage:
        user, space = self._user(scope), self._space(fingerprint)
        if user is None:
            return Coverage(0, 0)
        if space is None:
            return Coverage(0, user.memories)
        return Coverage(self._facts(scope).vectors.get(space.space, 0), user.memories)

    def any_importance(self, scope: Scope) -> bool:
        return self._facts(scope).important

    def latest(self, scope: Scope, now: datetime) -> datetime | None:
        latest = self._facts(scope).latest
        if latest is not None and latest > now:
            latest = statements.LATEST.scalar(self._driver, **owner(scope), now=now)
        return latest

    def lexical(self, scope: Scope, terms: Sequence[str], k: int, where: Where) -> LexicalHits:
        layout = self.layout(scope)
        user = self._user(scope)
        postings: list[Posting] = []
        if user is not None:
            # What is kept counts only in a snapshot at the layout's own revision.
            fixed = not self._writes and layout.revision == user.revision
            cache = self._caches.postings if fixed else None
            postings = postings_of(self._driver, scope, user, terms, layout, cache)
        evidence = bm25(postings, layout)
        found = evidence.touched
        if len(found):
            allowed, left_out = self._once((scope, where), lambda: self._visible(scope, where))
            if allowed is not None:
                found = found[np.isin(layout.seqs[found], allowed)]
            elif len(left_out):
                found = found[~np.isin(layout.seqs[found], left_out)]
        scores = evidence.at(found).combined
        high = highest(scores, k)
        found, scores = found[high], scores[high]
        # Equal scores: the row stored last first, as everywhere.
        order = np.lexsort((-found, -scores))[:k]
        return LexicalHits(layout.seqs[found[order]], scores[order].astype(np.float32), layout, evidence)

    def layout(self, scope: Scope) -> Layout:
        user = self._user(scope)
        return TurnTable().layout() if user is None else self._turns(scope, user).layout()

    def sessions(self, scope: Scope) -> list[str]:
        return [row[0] for row in statements.SESSIONS.each(self._driver, **owner(scope))]

    def session_turns(
        self, scope: Scope, session_id: str, fingerprint: str, around: Span | None = None
    ) -> list[SessionTurn]:
        space = self._space(fingerprint)
        asked = {**owner(scope), "session": session_id, "space": -1 if space is None else space.space}
        if around is None:
            return [SessionTurn(*row) for row in statements.SESSION_TURNS.each(self._driver, **asked)]
        of_session = {**owner(scope), "session": session_id}
        before = statements.WINDOW_BEFORE.first(self._driver, **of_session, at=around[0])
        after = statements.WINDOW_AFTER.first(self._driver, **of_session, at=around[1])
        first, last = (_EARLIEST if before is None else before[0]), (_LATEST if after is None else after[0])
        rows = statements.SESSION_TURNS_BETWEEN.each(self._driver, **asked, first=first, last=last)
        turns = [SessionTurn(*row) for row in rows]
        # Others may share the time of the first or of the one after the last.
        seqs = [turn.seq for turn in turns]
        start = 0 if before is None else seqs.index(before[1])
        return turns[start:] if after is None else turns[start : seqs.index(after[1])]

    def created_between(self, scope: Scope, ids: Collection[str]) -> Span | None:
        first, last = statements.CREATED_BETWEEN.first(self._driver, **owner(scope), ids=ids) or (None, None)
        return None if first is None else (first, last)

    def export(self, scope: Scope, after: str = "", limit: int = 500) -> list[Exported]:
        query = select(*MEMORY_COLUMNS, memories.c.seq, memories.c.stored_at)
        query = query.where(owned(scope), memories.c.id > after).order_by(memories.c.id).limit(limit)
        return [
            Exported(to_memory(row), row.stored_at, self.history(scope, row.id), self._vectors(scope, row.seq))
            for row in self._connection.execute(query).all()
        ]

    def remembered(self, tenant: str, key: str, since: datetime) -> Remembered | None:
        row = self._connection.execute(
            select(idempotency_keys.c.request_hash, idempotency_keys.c.response).where(
                idempotency_keys.c.tenant_id == tenant,
                idempotency_keys.c.key == key,
                idempotency_keys.c.created_at >= since,
            )
        ).first()
        return None if row is None else Remembered(row.request_hash, row.response)

    def _once(self, key: Any, ask: Callable[[], Any]) -> Any:
        """A snapshot does not change, so each question is put to it once."""
        if key not in self._known:
            self._known[key] = ask()
        return self._known[key]

    def _user(self, scope: Scope) -> UserRow | None:
        def ask() -> UserRow | None:
            row = statements.USER.first(self._driver, **owner(scope))
            return None if row is None else UserRow._make(row)

        return self._once(scope, ask)  # type: ignore[no-any-return]

    def _space(self, fingerprint: str) -> SpaceRow | None:
        def ask() -> SpaceRow | None:
            row = statements.SPACE.first(self._driver, fingerprint=fingerprint)
            return None if row is None else SpaceRow._make(row)

        if not fingerprint:  # of whom only the memories are counted
            return None
        known = self._caches.spaces.get(fingerprint)
        if known is None:
            known = self._once(fingerprint, ask)
            if known is not None and not self._writes:
                self._caches.spaces[fingerprint] = known
        return known

    def _visible(self, scope: Scope, where: Where) -> tuple[Seqs | None, Seqs | None]:
        """Rows to search among, or (when the caller does not narrow) the fewer rows to leave out."""
        if where.as_of is not None:  # a view of its own, seldom asked for twice
            query = select(joined(memories.c.seq)).where(owned(scope), live(where), narrowed(where))
            return numbers(self._connection.execute(query).scalar()), None
        facts = self._facts(scope)
        left_out = facts.expired(where.now)
        if not where.include_superseded:
            left_out = np.concatenate([left_out, facts.superseded])
        if not where.narrows:
            return None, left_out
        allowed = self._narrowed(scope, where)
        return (np.setdiff1d(allowed, left_out, assume_unique=True) if len(left_out) else allowed), None

    def _narrowed(self, scope: Scope, where: Where) -> Seqs:
        user = self._user(scope)
        if user is None:
            return numbers(None)

        def ask() -> Seqs:
            query = select(joined(memories.c.seq)).where(owned(scope), narrowed(where))
            return np.sort(numbers(self._connection.execute(query).scalar()))

        return self._kept(self._caches.narrowings, (user.number, narrowing_key(where)), user.revision, ask)

    def _facts(self, scope: Scope) -> Facts:
        def ask() -> Facts:
            row = statements.FACTS.first(self._driver, **owner(scope))
            assert row is not None, "a row of subqueries"
            return Facts.of(row)

        user = self._user(scope)
        return ask() if user is None else self._kept(self._caches.facts, user.number, user.revision, ask)

    def _kept(self, cache: ByteBoundedCache[AtRevision[V]], key: Any, revision: int, ask: Callable[[], V]) -> V:
        if self._writes:  # its revision may never be committed
            return ask()
        entry: AtRevision[V] = cache.get(key, AtRevision)
        value = entry.value(revision, ask)
        cache.settle(key, entry)
        return value

    def _vectors(self, scope: Scope, seq: int) -> dict[str, NDArray[np.float16]]:
        query = select(spaces.c.fingerprint, PACKED_VECTOR).select_from(vectors)
        query = query.join(spaces, spaces.c.space == vectors.c.space).where(
            vectors.c.tenant_id == scope.tenant, vectors.c.user_id == scope.user_id, vectors.c.seq == seq
        )
        return {fingerprint: unpack(packed) for fingerprint, packed in self._connection.execute(query)}

    def _turns(self, scope: Scope, user: UserRow) -> TurnTable:
        def changed(since: int) -> Turns:
            own = {**owner(scope), "since": since}
            seqs, terms, at = map(numbers, statements.CHANGED_TURNS.rows(self._driver, **own)[0])
            groups = statements.CHANGED_TURN_GROUPS.each(self._driver, **own)
            return Turns(seqs, terms, at, list(map(TurnGroup._make, groups)))

        # What a writer has changed may never be committed.
        table = TurnTable() if self._writes else self._caches.turns.get(user.number, TurnTable)
        table.sync(user.revision, user.reset_revision, lambda: self._seqs(scope), changed)
        self._caches.turns.settle(user.number, table)
        return table

    def _seqs(self, scope: Scope) -> Seqs:
        return numbers(statements.ALL_SEQS.scalar(self._driver, **owner(scope)))
