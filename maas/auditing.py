"""What the audit log is told, in the transaction that does it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog

from maas.errors import MaasError
from maas.fields import MAX_ID_LENGTH
from maas.records import AuditEntry, Outcome
from maas.storage.protocol import WriteTransaction

if TYPE_CHECKING:
    from maas.administration import Administration

REFUSALS = (403, 404)
_log = structlog.get_logger("maas.audit")


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


def record_refusal(acting: Administration, action: str, error: MaasError, asked: Mapping[str, Any]) -> None:
    """A known key reached for what is not its own, or is not there: the answer does not tell, the audit log does.

    Args:
        acting: signs as the key.
        error: with a status of REFUSALS.
        asked: ids the caller named, by the name of their parameter.
    """
    ids = {name: str(value)[:MAX_ID_LENGTH] for name, value in asked.items() if value is not None}
    # A user's id stands in its own column, where an erasure finds it.
    user_id = ids.pop("user_id", getattr(error, "user_id", None))
    try:
        acting.record_refusal(action, user_id, next(iter(ids.values()), None))
    except MaasError as failure:
        _log.warning("refusal not recorded", code=failure.code, detail=failure.detail)
