"""Words, vectors and numbers of rows on SQLite, whose writer holds the whole database."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import delete, text

from maas.records import Scope
from maas.storage import statements
from maas.storage.engine import Transaction
from maas.storage.reader import Caches
from maas.storage.rows import words_of
from maas.storage.sqlite_reader import WIPE, SqliteReader
from maas.storage.statements import owner
from maas.storage.tables import upkeep
from maas.storage.writer import IndexedTerms, Writer

# '`' follows '_' in ASCII: the range holds every term of this user and none of another's.
_COUNT_TERMS = text(
    "SELECT count(DISTINCT doc) FROM memory_vocabulary WHERE term >= :number || '_' AND term < :number || '`'"
)


class SqliteWriter(Writer, SqliteReader):
    """Implements WriteTransaction; see maas/storage/protocol.py for what each method promises."""

    def __init__(self, transaction: Transaction[Any], caches: Caches, exact_up_to: int = 0) -> None:
        super().__init__(transaction, caches)
        self._exact_up_to = exact_up_to

    def hold(self, scopes: Collection[Scope]) -> None:
        """Nobody else writes anything."""

    def merge_words(self, pages: int) -> bool:
        """One step of merging the index of words; returns whether there is more to do."""
        driver = cast("sqlite3.Connection", self._driver)
        before = driver.total_changes
        statements.MERGE_TERMS.run(self._driver, pages=pages)
        return driver.total_changes - before >= 2

    def wiped(self, wanted: datetime) -> None:
        """Note that everything deleted until ``wanted`` was wiped; later deletions have moved it on."""
        self._connection.execute(delete(upkeep).where(upkeep.c.task == WIPE, upkeep.c.at == wanted))

    def _next_seqs(self, n: int) -> Sequence[int]:
        last = statements.LAST_SEQ.scalar(self._driver) or 0
        return range(last + 1, last + n + 1)

    def _add_memories(self, rows: Iterable[dict[str, Any]], terms: Sequence[IndexedTerms]) -> None:
        statements.ADD_MEMORY.run_many(self._driver, rows)
        words = ({"seq": seq, "terms": words_of(number, own)} for seq, number, own in terms)
        statements.ADD_TERMS.run_many(self._driver, words)

    def _change_terms(self, scope: Scope, seq: int, number: int, terms: Sequence[str]) -> None:
        statements.DROP_TERMS.run(self._driver, seq=seq)
        statements.ADD_TERMS.run(self._driver, seq=seq, terms=words_of(number, terms))

    def _drop_terms(self, seqs: Sequence[int]) -> None:
        statements.DROP_TERMS.run_many(self._driver, ({"seq": seq} for seq in seqs))

    def _drop_vectors_of(self, scope: Scope, seqs: Sequence[int], space: int | None = None) -> None:
        own = owner(scope)
        if space is None:
            statements.DROP_VECTORS.run_many(self._driver, ({**own, "seq": seq} for seq in seqs))
        else:
            rows = ({**own, "space": space, "row": seq} for seq in seqs)
            statements.DROP_FROM_SPACE.run_many(self._driver, rows)

    def _indexed(self, scope: Scope, number: int | None) -> int:
        return int(self._connection.execute(_COUNT_TERMS, {"number": str(number)}).scalar_one())
