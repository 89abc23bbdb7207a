"""The users of a tenant, in plain SQL that any database takes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, func, select

from maas.records import UserSummary
from maas.storage.by_dialect import folded, position
from maas.storage.engine import Transaction
from maas.storage.tables import documents, memories, users


class UserListQueries:
    """For a reading transaction on its connection."""

    _transaction: Transaction[Any]

    def user_list(self, tenant: str, limit: int, after: str = "", matching: str = "") -> list[UserSummary]:
        latest = select(func.max(memories.c.created_at)).where(
            and_(memories.c.tenant_id == users.c.tenant_id, memories.c.user_id == users.c.user_id)
        )
        whole_texts = select(func.count()).where(
            and_(documents.c.tenant_id == users.c.tenant_id, documents.c.user_id == users.c.user_id)
        )
        query = select(
            users.c.user_id,
            users.c.memories,
            whole_texts.scalar_subquery().label("documents"),
            latest.scalar_subquery().label("latest"),
        ).where(users.c.tenant_id == tenant, users.c.user_id > after)
        if matching:
            query = query.where(position(folded(users.c.user_id), matching.casefold()) > 0)
        rows = self._transaction.connection.execute(query.order_by(users.c.user_id).limit(limit))
        return [UserSummary.model_validate(row._asdict()) for row in rows]
