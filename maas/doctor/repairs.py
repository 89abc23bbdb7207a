"""Rebuilding what follows from the rows of ``memories``, in either database: each runs inside one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from maas.doctor.asking import HISTORY, VECTORS, change, each
from maas.items import text_hash
from maas.storage.prepared import Prepared

if TYPE_CHECKING:
    from maas.doctor.asking import Driver

# Of either kind of connection, or of one alone.
Repair = Callable[[Any], str]
_SET_TEXT = Prepared(
    text("UPDATE memories SET text = :text WHERE tenant_id = :tenant AND user_id = :user AND seq = :seq")
)
_DROP_VECTOR = Prepared(
    text("DELETE FROM vectors WHERE tenant_id = :tenant AND user_id = :user AND space = :space AND seq = :seq")
)
_NEW_VERSIONS = """
    INSERT INTO memory_versions (tenant_id, user_id, memory_id, version, event, text, metadata, importance, expires_at,
        at, valid_from, actor)
    SELECT tenant_id, user_id, id, version, 'ADD', text, metadata, importance, expires_at,
        updated_at, CASE WHEN created_at < updated_at THEN created_at ELSE updated_at END, 'doctor'
    FROM memories m WHERE [without]"""


def restore_texts(driver: Driver) -> str:
    """Take an altered text back from its newest version, where that has the hash."""
    rows = each(
        driver,
        "SELECT m.tenant_id, m.user_id, m.seq, m.text, m.role, m.name, m.agent_id, m.session_id, m.text_hash, v.text"
        " FROM memories m"
        " JOIN memory_versions v ON v.tenant_id = m.tenant_id AND v.user_id = m.user_id AND v.memory_id = m.id"
        " WHERE v.text != m.text ORDER BY v.version DESC",
    )
    mended: dict[tuple[str, str, int], str] = {}
    for tenant, user_id, seq, text_now, *marks, stored, kept in rows:
        place = (tenant, user_id, seq)
        if place not in mended and text_hash(text_now, *marks) != stored and text_hash(kept, *marks) == stored:
            mended[place] = kept
    for (tenant, user_id, seq), kept in mended.items():
        _SET_TEXT.run(driver, tenant=tenant, user=user_id, seq=seq, text=kept)
    return f"{len(mended):,} texts from their versions"


def rebuild_versions(driver: Driver) -> str:
    dropped = HISTORY.drop_orphans(driver)
    made = change(driver, HISTORY.sql(_NEW_VERSIONS))
    return f"the history: {made:,} versions made, {dropped:,} without a memory removed"


def drop_vectors(driver: Driver, unsound: Iterable[tuple[str, str, int, int]]) -> str:
    """What is then missing is embedded anew."""
    total = 0
    for tenant, user_id, space, seq in unsound:
        _DROP_VECTOR.run(driver, tenant=tenant, user=user_id, space=space, seq=seq)
        total += 1
    return f"{total:,} unsound vectors and {VECTORS.drop_orphans(driver):,} without a memory removed"


def recount(driver: Driver) -> str:
    change(
        driver,
        "UPDATE users AS u SET memories = m.n, terms = m.t FROM (SELECT u2.number, count(m.seq) AS n,"
        " coalesce(sum(m.term_count), 0) AS t FROM users u2 LEFT JOIN memories m ON m.tenant_id = u2.tenant_id"
        " AND m.user_id = u2.user_id GROUP BY u2.number) m WHERE m.number = u.number",
    )
    change(driver, "DELETE FROM user_spaces")
    change(
        driver,
        "INSERT INTO user_spaces (tenant_id, user_id, space, vectors)"
        " SELECT tenant_id, user_id, space, count(*) FROM vectors GROUP BY 1, 2, 3",
    )
    return "the counts"


def renew_caches(driver: Driver) -> None:
    """Every process builds its indexes anew: the revision moves on, and with it all rows."""
    change(driver, "UPDATE users SET revision = revision + 1, reset_revision = revision + 1")
    change(
        driver,
        "UPDATE memories AS m SET revision = (SELECT revision FROM users u WHERE u.tenant_id = m.tenant_id"
        " AND u.user_id = m.user_id)",
    )
