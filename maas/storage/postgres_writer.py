"""Words, vectors and numbers of rows in PostgreSQL, and the locks by which writers wait for each other.

Writers of one user run one after the other, those of different users at once: before a writing transaction reads or
changes anything of a user it holds that user's lock, and until it ends. So it is with a key of idempotency, a task,
and the lists of keys and of runs of re-embedding.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, bindparam, delete, func, select, text, update

from maas.records import ApiKey, Scope
from maas.storage import statements
from maas.storage.by_dialect import ListOf, among
from maas.storage.engine import Transaction
from maas.storage.postgres_reader import PostgresReader
from maas.storage.prepared import Prepared
from maas.storage.protocol import WriteTransaction
from maas.storage.reader import Caches
from maas.storage.statements import owner
from maas.storage.tables import WordVector, postgres_memories, users, vectors
from maas.storage.values import ReindexRun, Remembered
from maas.storage.writer import IndexedTerms, Writer, of

# A transaction holds at most so many locks of users: the server's table of locks is small.
_SLOTS = 1024
_USERS = 1

_HOLD_SLOTS = Prepared(
    text("SELECT count(pg_advisory_xact_lock(:kind, slot)) FROM unnest(CAST(:slots AS integer[])) AS slot").bindparams(
        bindparam("slots", type_=ListOf(BigInteger))
    )
)
_HOLD = Prepared(text("SELECT count(pg_advisory_xact_lock(:topic))"))
_NEXT_SEQS = Prepared(
    text("SELECT nextval(pg_get_serial_sequence('memories', 'seq')) FROM generate_series(1, CAST(:n AS integer))")
)
_ROW = postgres_memories.c
_SET_WORDS = Prepared(
    update(postgres_memories)
    .where(_ROW.tenant_id == bindparam("tenant"), _ROW.user_id == bindparam("user"), _ROW.seq == bindparam("row"))
    .values({_ROW.words: bindparam("own_words", type_=WordVector)})
)
_OWN_VECTORS = (vectors.c.tenant_id == bindparam("tenant"), vectors.c.user_id == bindparam("user"))
_DROPPED = delete(vectors).where(*_OWN_VECTORS, among(vectors.c.seq, "seqs")).returning(vectors.c.space)
_DROP_VECTORS = Prepared(_DROPPED)
_DROP_FROM_SPACE = Prepared(_DROPPED.where(vectors.c.space == bindparam("from_space")))
_COUNT_MEMORIES = Prepared(
    update(users)
    .where(users.c.tenant_id == bindparam("tenant"), users.c.user_id == bindparam("user"))
    .values(
        {
            users.c.memories: users.c.memories + bindparam("more_memories", type_=BigInteger),
            users.c.terms: users.c.terms + bindparam("more_terms", type_=BigInteger),
        }
    )
)
_COUNT_VECTORS = Prepared(
    text(
        "INSERT INTO user_spaces (tenant_id, user_id, space, vectors) VALUES (:tenant, :user, :space, :vectors)"
        " ON CONFLICT (tenant_id, user_id, space) DO UPDATE SET vectors = user_spaces.vectors + excluded.vectors"
    )
)
_DROP_EMPTY_SPACES = Prepared(
    text("DELETE FROM user_spaces WHERE tenant_id = :tenant AND user_id = :user AND vectors <= 0")
)


def _held_first(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def held(self: PostgresWriter, scope: Scope, *args: Any, **kwargs: Any) -> Any:
        self.hold((scope,))
        return method(self, scope, *args, **kwargs)

    return held


def _scoped_methods() -> Iterator[str]:
    """Methods of a transaction that are about one user."""
    for name, method in inspect.getmembers(WriteTransaction, inspect.isfunction):
        if not name.startswith("_") and list(inspect.signature(method).parameters)[1:2] == ["scope"]:
            yield name


class PostgresWriter(Writer, PostgresReader):
    """Implements WriteTransaction; see maas/storage/protocol.py for what each method promises."""

    def __init__(self, transaction: Transaction[Any], caches: Caches, exact_up_to: int = 0) -> None:
        super().__init__(transaction, caches)
        self._exact_up_to = exact_up_to
        self._held: set[int | str] = set()

    def hold(self, scopes: Collection[Scope]) -> None:
        slots = {number_of(scope.tenant, scope.user_id) % _SLOTS for scope in scopes} - self._held
        if slots:
            # In one order for everybody, or two could wait for each other.
            _HOLD_SLOTS.run(self._driver, kind=_USERS, slots=sorted(slots))
            self._held |= slots

    def _hold_topic(self, *topic: str) -> None:
        if "\0".join(topic) not in self._held:
            _HOLD.run(self._driver, topic=number_of(*topic))
            self._held.add("\0".join(topic))

    def remembered(self, tenant: str, key: str, since: datetime) -> Remembered | None:
        self._hold_topic("idempotency", tenant, key)
        return super().remembered(tenant, key, since)

    def any_api_key(self) -> bool:
        self._hold_topic("first key")
        return super().any_api_key()

    def api_keys(self, tenant: str) -> list[ApiKey]:
        self._hold_topic("keys", tenant)
        return super().api_keys(tenant)

    def last_reindex(self) -> ReindexRun | None:
        self._hold_topic("reindex")
        return super().last_reindex()

    def claim(self, task: str, at: datetime, unless_since: datetime) -> bool:
        self._hold_topic("task", task)
        return super().claim(task, at, unless_since)

    def _next_seqs(self, n: int) -> Sequence[int]:
        return sorted(row[0] for row in _NEXT_SEQS.each(self._driver, n=n))

    def _add_memories(self, rows: Iterable[dict[str, Any]], terms: Sequence[IndexedTerms]) -> None:
        words = {seq: (number, own) for seq, number, own in terms}
        statements.ADD_MEMORY.run_many(self._driver, (row | {"words": words[row["seq"]]} for row in rows))

    def _change_terms(self, scope: Scope, seq: int, number: int, terms: Sequence[str]) -> None:
        _SET_WORDS.run(self._driver, **owner(scope), row=seq, own_words=(number, terms))

    def _drop_terms(self, seqs: Sequence[int]) -> None:
        """They go with their rows."""

    def _drop_vectors_of(self, scope: Scope, seqs: Sequence[int], space: int | None = None) -> None:
        own = {**owner(scope), "seqs": seqs}
        if space is None:
            dropped = _DROP_VECTORS.rows(self._driver, **own)
        else:
            dropped = _DROP_FROM_SPACE.rows(self._driver, **own, from_space=space)
        spaces = [row[0] for row in dropped]
        for each in sorted(set(spaces)):
            self._count_vectors(each, [(scope, -spaces.count(each))])
        if spaces:
            _DROP_EMPTY_SPACES.run(self._driver, **owner(scope))

    def _indexed(self, scope: Scope, number: int | None) -> int:
        words = func.length(postgres_memories.c.words) > 0
        counted = select(func.count()).select_from(postgres_memories).where(*of(postgres_memories, scope), words)
        return int(self._connection.execute(counted).scalar_one())

    def _count_memories(self, more: Iterable[tuple[Scope, int, int]]) -> None:
        rows = ({**owner(scope), "more_memories": memories, "more_terms": terms} for scope, memories, terms in more)
        _COUNT_MEMORIES.run_many(self._driver, rows)

    def _count_vectors(self, space: int, more: Iterable[tuple[Scope, int]]) -> None:
        _COUNT_VECTORS.run_many(self._driver, ({**owner(scope), "space": space, "vectors": n} for scope, n in more))


for _name in _scoped_methods():
    setattr(PostgresWriter, _name, _held_first(getattr(PostgresWriter, _name)))


def number_of(*topic: str) -> int:
    """64 bits, signed, as advisory locks go by."""
    digest = hashlib.blake2b("\0".join(topic).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
