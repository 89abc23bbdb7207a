"""What recall asks about the times of memories: the part of a reading transaction that looks back."""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy import and_, func, select

from maas.records import Scope
from maas.storage import statements
from maas.storage.engine import Transaction
from maas.storage.rows import to_entry
from maas.storage.statements import owner
from maas.storage.tables import memories, memory_versions
from maas.storage.values import Earlier, Seqs, Traits, Where
from maas.storage.where import live, narrowed, owned


class TimeQueries:
    _transaction: Transaction[Any]

    def traits(self, scope: Scope, seqs: Seqs) -> Traits:
        row = statements.TRAITS.first(self._transaction.driver, **owner(scope), seqs=seqs.tolist())
        rows, created, importance = row or (None, None, None)
        found = np.fromstring(rows or "", np.int64, sep=",")
        if not len(found):
            return Traits(np.zeros(len(seqs), np.int64), np.full(len(seqs), np.nan))
        order = np.argsort(found)
        place = order[np.minimum(np.searchsorted(found, seqs, sorter=order), len(found) - 1)]
        here = found[place] == seqs
        return Traits(
            np.where(here, np.fromstring(created or "", np.int64, sep=",")[place], 0),
            np.where(here, np.fromstring(importance or "", np.float64, sep=",")[place], np.nan),
        )

    def earlier_versions(self, scope: Scope, where: Where) -> dict[int, Earlier]:
        version, other = memory_versions.c, memory_versions.alias().c
        same = and_(
            version.tenant_id == memories.c.tenant_id,
            version.user_id == memories.c.user_id,
            version.memory_id == memories.c.id,
        )
        valid = select(func.max(other.version)).where(
            other.tenant_id == version.tenant_id,
            other.user_id == version.user_id,
            other.memory_id == version.memory_id,
            other.valid_from <= where.as_of,
        )
        query = select(
            memories.c.seq,
            memories.c.name.label("said_by"),
            (version.text == memories.c.text).label("same_text"),
            memory_versions,
        ).join(memory_versions, same)
        query = query.where(
            owned(scope),
            live(where),
            narrowed(where),
            memories.c.version > version.version,
            version.version == valid.scalar_subquery(),
        )
        rows = self._transaction.connection.execute(query.order_by(memories.c.seq.desc()))
        return {row.seq: Earlier(to_entry(row), row.said_by, bool(row.same_text)) for row in rows}
