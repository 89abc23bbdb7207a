"""Queries that only SQLite is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from maas.errors import StorageError
from maas.records import Scope
from maas.storage import statements
from maas.storage.tables import upkeep
from maas.storage.values import LexicalHits, Where
from maas.storage.vector_reader import VectorReader

WIPE = "wipe"
# Counted when a process first asks for a user's words; of users with more the doctor tells.
COUNTED_TERMS = 2_000_000
LOOKED_UP = 32


class SqliteReader(VectorReader):
    """Implements ReadTransaction; see maas/storage/protocol.py for what each method promises."""

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

    def _changed_vectors(self, own: dict[str, Any], since: int, dim: int) -> Iterator[tuple[int, bytes]]:
        if since == 0:  # the range of vectors is read in one go; later the few that changed are picked
            return statements.ALL_VECTORS.each(self._driver, **own)
        return statements.CHANGED_VECTORS.each(self._driver, **own, since=since)

    def wipe_wanted(self) -> datetime | None:
        """When words were last deleted that still lie on disk; None if there are none."""
        return self._connection.execute(select(upkeep.c.at).where(upkeep.c.task == WIPE)).scalar()
