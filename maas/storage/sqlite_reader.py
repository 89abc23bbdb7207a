"""Vectors on the SQLite database: searched in FAISS indexes that are kept in step with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from maas.embedders.protocol import Vectors
from maas.errors import StorageError
from maas.records import Scope
from maas.storage import statements
from maas.storage.engine import Transaction
from maas.storage.facts import numbers
from maas.storage.protocol import Hits, LexicalHits, Scores, Seqs, Where
from maas.storage.reader import NOTHING, Caches, Reader
from maas.storage.statements import owner
from maas.storage.tables import upkeep
from maas.storage.vector_index import VectorIndex

WIPE = "wipe"
# Counted when a process first asks for a user's words; of users with more the doctor tells.
COUNTED_TERMS = 2_000_000
LOOKED_UP = 32


class SqliteReader(Reader):
    """Implements ReadTransaction; see maas/storage/protocol.py for what each method promises."""

    def __init__(self, transaction: Transaction[Any], caches: Caches, exact_up_to: int = 0) -> None:
        super().__init__(transaction, caches)
        self._exact_up_to = exact_up_to

    def dense(self, scope: Scope, fingerprint: str, queries: Vectors, k: int, where: Where) -> list[Hits]:
        index = self._vector_index(scope, fingerprint)
        if index is None:
            return [NOTHING for _ in queries]
        allowed, left_out = self._once((scope, where), lambda: self._visible(scope, where))
        return index.search(queries, k, allowed=allowed, hidden=left_out)

    def similarities(self, scope: Scope, fingerprint: str, query: NDArray[np.float32], seqs: Seqs) -> Scores:
        index = self._vector_index(scope, fingerprint)
        return np.full(len(seqs), np.nan, np.float32) if index is None else index.similarities(query, seqs)

    def rows(self, scope: Scope, fingerprint: str, seqs: Seqs) -> tuple[NDArray[np.bool_], Vectors]:
        index = self._vector_index(scope, fingerprint)
        if index is None:
            return np.zeros(len(seqs), np.bool_), np.empty((0, 0), np.float32)
        return index.rows(seqs)

    def lexical(self, scope: Scope, terms: Sequence[str], k: int, where: Where) -> LexicalHits:
        self._refuse_lost_words(scope)
        return super().lexical(scope, terms, k, where)

    def _refuse_lost_words(self, scope: Scope) -> None:
        """Damage to the index of words can hide words without an error: count them when a user is first asked for."""
        user, counted = self._user(scope), self._caches.counted
        if user is None or self._writes or user.number in counted or user.terms > COUNTED_TERMS:
            return
        own = statements.WORD_COUNTS.rows(self._driver, first=f"{user.number}_", beyond=f"{user.number}`")
        there = sum(count for _, count in own)
        for term, count in own[:: max(1, len(own) // LOOKED_UP)]:
            there -= count - statements.WORD_COUNT.scalar(self._driver, term=term)
        if there != user.terms:
            raise StorageError(
                f"the index of words is damaged: it holds {there:,} of {user.terms:,} terms of a user's memories;"
                " `maas doctor --repair` makes it anew"
            )
        counted.add(user.number)

    def _vector_index(self, scope: Scope, fingerprint: str) -> VectorIndex | None:
        user, space = self._user(scope), self._space(fingerprint)
        if user is None or space is None:
            return None

        def seqs() -> Seqs:
            return numbers(statements.SPACE_SEQS.scalar(self._driver, **owner(scope), space=space.space))

        def changed(since: int) -> Iterator[tuple[int, bytes]]:
            own = {**owner(scope), "space": space.space}
            if since == 0:  # the range of vectors is read in one go; later the few that changed are picked
                return statements.ALL_VECTORS.each(self._driver, **own)
            return statements.CHANGED_VECTORS.each(self._driver, **own, since=since)

        key = (user.number, space.space)
        room = self._caches.vectors.limit
        index = self._caches.vectors.get(key, lambda: VectorIndex(space.dim, exact_up_to=self._exact_up_to, room=room))
        expected = self._facts(scope).vectors.get(space.space, 0)
        index.sync(user.revision, user.reset_revision, seqs, changed, expected=expected)
        self._caches.vectors.settle(key, index)
        return index

    def wipe_wanted(self) -> datetime | None:
        """When words were last deleted that still lie on disk; None if there are none."""
        return self._connection.execute(select(upkeep.c.at).where(upkeep.c.task == WIPE)).scalar()
