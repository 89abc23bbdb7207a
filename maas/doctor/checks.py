"""What must hold inside the database. Each check reads one snapshot and tells what it found.

These look at every user of every tenant: the only statements, with those of re-embedding, that are not about one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

import numpy as np

from maas.doctor.report import Finding, fault, judged, ok
from maas.items import indexed_text, text_hash
from maas.recall.analysis import document_terms
from maas.storage.encryption import database_errors
from maas.storage.rows import words_of

_SHOWN = 5
_CHUNK = 5_000
_TOLERANCE = 0.01


def integrity(driver: sqlite3.Connection) -> Iterator[Finding]:
    """SQLite's own check of pages, indexes and constraints."""
    found = [row[0] for row in driver.execute("PRAGMA integrity_check(100)")]
    if found == ["ok"]:
        yield ok("database", "pages, indexes and constraints are sound")
        return
    index_only = all("index" in line for line in found)
    shown = "; ".join(found[:_SHOWN])
    yield fault("database", f"{len(found)} faults: {shown}", "indexes" if index_only else None)


def references(driver: sqlite3.Connection) -> Iterator[Finding]:
    found = driver.execute("PRAGMA foreign_key_check").fetchall()
    if found:
        tables = ", ".join(sorted({row[0] for row in found}))
        yield fault("references", f"{len(found):,} rows of {tables} point at nothing")
    else:
        yield ok("references", "every reference is kept")


def texts(driver: sqlite3.Connection) -> Iterator[Finding]:
    """The text of every memory has the hash it was stored with."""
    rows = driver.execute("SELECT text, role, name, agent_id, session_id, text_hash FROM memories")
    total = wrong = 0
    for *parts, stored in rows:
        total += 1
        wrong += text_hash(*parts) != stored
    yield judged("texts", wrong, total, "memories", "are not what their hash says", "texts")


def versions(driver: sqlite3.Connection) -> Iterator[Finding]:
    """Every memory has its history, and no history is without its memory."""
    total = _count(driver, "SELECT count(*) FROM memories")
    bare = _count(
        driver,
        "SELECT count(*) FROM memories m WHERE NOT EXISTS (SELECT 1 FROM memory_versions v WHERE"
        " v.tenant_id = m.tenant_id AND v.user_id = m.user_id AND v.memory_id = m.id)",
    )
    yield judged("history", bare, total, "memories", "have no version", "versions")
    kept = _count(driver, "SELECT count(*) FROM memory_versions")
    orphans = _count(
        driver,
        "SELECT count(*) FROM memory_versions v WHERE NOT EXISTS (SELECT 1 FROM memories m WHERE"
        " m.tenant_id = v.tenant_id AND m.user_id = v.user_id AND m.id = v.memory_id)",
    )
    yield judged("history", orphans, kept, "versions", "belong to no memory", "versions")


def words(driver: sqlite3.Connection) -> Iterator[Finding]:
    """The index of words is sound, and holds for every memory the terms of its text."""
    try:
        driver.execute("INSERT INTO memory_terms (memory_terms) VALUES ('integrity-check')")
    except database_errors() as error:
        yield fault("words", f"the index of words is damaged: {error}", "words")
        return
    rows = driver.execute(
        "SELECT m.text, m.name, m.term_count, u.number, t.terms FROM memories m"
        " LEFT JOIN users u ON u.tenant_id = m.tenant_id AND u.user_id = m.user_id"
        " LEFT JOIN memory_terms t ON t.rowid = m.seq"
    )
    total = wrong = 0
    for text, name, term_count, number, indexed in rows:
        total += 1
        terms = document_terms(indexed_text(text, name))
        wrong += term_count != len(terms) or indexed != words_of(number, terms)
    yield judged("words", wrong, total, "memories", "are indexed under other words than theirs", "words")
    extra = "SELECT count(*) FROM memory_terms WHERE rowid NOT IN (SELECT seq FROM memories)"
    yield judged("words", _count(driver, extra), total, "entries", "belong to no memory", "words")


def vectors(driver: sqlite3.Connection) -> Iterator[Finding]:
    """Every memory has a vector, every vector a memory, and each is of unit length."""
    total = _count(driver, "SELECT count(*) FROM vectors")
    orphans = _count(
        driver,
        "SELECT count(*) FROM vectors v WHERE NOT EXISTS (SELECT 1 FROM memories m WHERE m.seq = v.seq"
        " AND m.tenant_id = v.tenant_id AND m.user_id = v.user_id)",
    )
    yield judged("vectors", orphans, total, "vectors", "belong to no memory", "vectors")
    bare = _count(
        driver,
        "SELECT count(*) FROM memories m WHERE NOT EXISTS (SELECT 1 FROM vectors v WHERE v.seq = m.seq"
        " AND v.tenant_id = m.tenant_id AND v.user_id = m.user_id)",
    )
    memories = _count(driver, "SELECT count(*) FROM memories")
    yield judged("vectors", bare, memories, "memories", "have no vector", "vectors")
    yield judged("vectors", len(unsound_vectors(driver)), total, "vectors", "are not of unit length", "vectors")


def unsound_vectors(driver: sqlite3.Connection) -> list[tuple[str, str, int, int]]:
    """(tenant, user, space, seq) of vectors of a wrong size, not finite, or not of unit length."""
    found = []
    for space, dim in driver.execute("SELECT space, dim FROM spaces").fetchall():
        rows = driver.execute("SELECT tenant_id, user_id, space, seq, vector FROM vectors WHERE space = ?", (space,))
        while chunk := rows.fetchmany(_CHUNK):
            whole = [row for row in chunk if len(row[4]) == 2 * dim]
            found += [row[:4] for row in chunk if len(row[4]) != 2 * dim]
            if whole:
                values = np.frombuffer(b"".join(row[4] for row in whole), "<f2").reshape(-1, dim)
                with np.errstate(all="ignore"):
                    sound = np.abs(np.linalg.norm(values.astype(np.float32), axis=1) - 1) < _TOLERANCE
                found += [whole[i][:4] for i in np.flatnonzero(~sound)]
    return found


def counts(driver: sqlite3.Connection) -> Iterator[Finding]:
    """The counters kept by triggers agree with what they count."""
    users = _count(driver, "SELECT count(*) FROM users")
    wrong = _count(
        driver,
        "SELECT count(*) FROM users u LEFT JOIN (SELECT tenant_id, user_id, count(*) AS n, sum(term_count) AS t"
        " FROM memories GROUP BY 1, 2) m USING (tenant_id, user_id)"
        " WHERE u.memories != coalesce(m.n, 0) OR u.terms != coalesce(m.t, 0)",
    )
    yield judged("counts", wrong, users, "users", "have other memories than counted", "counts")
    unknown = _count(
        driver,
        "SELECT count(*) FROM (SELECT DISTINCT tenant_id, user_id FROM memories"
        " EXCEPT SELECT tenant_id, user_id FROM users)",
    )
    yield judged("counts", unknown, users, "users", "have memories but no row of their own", None)
    differing = _count(
        driver,
        "SELECT count(*) FROM (SELECT tenant_id, user_id, space, count(*) AS n FROM vectors GROUP BY 1, 2, 3"
        " EXCEPT SELECT tenant_id, user_id, space, vectors FROM user_spaces)",
    )
    yield judged("counts", differing, users, "users", "have other vectors than counted", "counts")


CHECKS: tuple[Callable[[sqlite3.Connection], Iterator[Finding]], ...] = (
    integrity,
    references,
    texts,
    versions,
    words,
    vectors,
    counts,
)


def _count(driver: sqlite3.Connection, query: str) -> int:
    return int(driver.execute(query).fetchone()[0])
