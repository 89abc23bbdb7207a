"""What must hold inside either database. Each check reads one snapshot and tells what it found.

These look at every user of every tenant: the only statements, with those of re-embedding, that are not about one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from maas.doctor.asking import HISTORY, VECTORS, count, each
from maas.doctor.report import Finding, judged
from maas.items import text_hash

if TYPE_CHECKING:
    from maas.doctor.asking import Driver

# Of either kind of connection, or of one alone.
Check = Callable[[Any], Iterator[Finding]]


def texts(driver: Driver) -> Iterator[Finding]:
    """The text of every memory has the hash it was stored with."""
    rows = each(driver, "SELECT text, role, name, agent_id, session_id, text_hash FROM memories")
    total = wrong = 0
    for *parts, stored in rows:
        total += 1
        wrong += text_hash(*parts) != stored
    yield judged("texts", wrong, total, "memories", "are not what their hash says", "texts")


def versions(driver: Driver) -> Iterator[Finding]:
    """Every memory has its history, and no history is without its memory."""
    total = count(driver, "SELECT count(*) FROM memories")
    yield judged("history", HISTORY.memories_without(driver), total, "memories", "have no version", "versions")
    kept = count(driver, "SELECT count(*) FROM memory_versions")
    yield judged("history", HISTORY.orphans(driver), kept, "versions", "belong to no memory", "versions")


def vectors(driver: Driver) -> Iterator[Finding]:
    """Every memory has a vector, and every vector a memory."""
    total = count(driver, "SELECT count(*) FROM vectors")
    yield judged("vectors", VECTORS.orphans(driver), total, "vectors", "belong to no memory", "vectors")
    memories = count(driver, "SELECT count(*) FROM memories")
    yield judged("vectors", VECTORS.memories_without(driver), memories, "memories", "have no vector", "vectors")


def counts(driver: Driver) -> Iterator[Finding]:
    """The counters agree with what they count."""
    users = count(driver, "SELECT count(*) FROM users")
    wrong = count(
        driver,
        "SELECT count(*) FROM users u LEFT JOIN (SELECT tenant_id, user_id, count(*) AS n, sum(term_count) AS t"
        " FROM memories GROUP BY 1, 2) m USING (tenant_id, user_id)"
        " WHERE u.memories != coalesce(m.n, 0) OR u.terms != coalesce(m.t, 0)",
    )
    yield judged("counts", wrong, users, "users", "have other memories than counted", "counts")
    unknown = count(
        driver,
        "SELECT count(*) FROM (SELECT DISTINCT tenant_id, user_id FROM memories"
        " EXCEPT SELECT tenant_id, user_id FROM users) AS unknown",
    )
    yield judged("counts", unknown, users, "users", "have memories but no row of their own", None)
    differing = count(
        driver,
        "SELECT count(*) FROM (SELECT tenant_id, user_id, space, count(*) AS n FROM vectors GROUP BY 1, 2, 3"
        " EXCEPT SELECT tenant_id, user_id, space, vectors FROM user_spaces) AS differing",
    )
    yield judged("counts", differing, users, "users", "have other vectors than counted", "counts")
