"""What the audit log is told, in the transaction that does it."""

from __future__ import annotations

from datetime import datetime

from maas.records import AuditEntry, Outcome
from maas.storage.protocol import WriteTransaction


def record(
    transaction: WriteTransaction,
    tenant: str,
    actor: str,
    action: str,
    at: datetime,
    *,
    user_id: str | None = None,
    subject: str | None = None,
    count: int = 1,
    outcome: Outcome = "done",
) -> None:
    """Add an entry; see :class:`AuditEntry` for the fields."""
    entry = AuditEntry(
        at=at, actor=actor, action=action, outcome=outcome, user_id=user_id, subject=subject, count=count
    )
    transaction.add_audit(tenant, entry)
