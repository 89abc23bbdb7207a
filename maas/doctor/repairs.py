"""Rebuilding what follows from the rows of ``memories``: each repair runs inside one writing transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from maas.doctor.checks import unsound_vectors
from maas.doctor.report import Remedy
from maas.items import indexed_text, text_hash
from maas.recall.analysis import document_terms
from maas.storage.rows import words_of


def rebuild_indexes(driver: sqlite3.Connection) -> str:
    driver.execute("REINDEX")
    return "the indexes of all tables"


def restore_texts(driver: sqlite3.Connection) -> str:
    """Take an altered text back from its newest version, where that has the hash."""
    rows = driver.execute(
        "SELECT m.seq, m.text, m.role, m.name, m.agent_id, m.session_id, m.text_hash, v.text FROM memories m"
        " JOIN memory_versions v ON v.tenant_id = m.tenant_id AND v.user_id = m.user_id AND v.memory_id = m.id"
        " WHERE v.text != m.text ORDER BY v.version DESC"
    ).fetchall()
    mended: set[int] = set()
    for seq, text, *marks, stored, kept in rows:
        if seq not in mended and text_hash(text, *marks) != stored and text_hash(kept, *marks) == stored:
            driver.execute("UPDATE memories SET text = ? WHERE seq = ?", (kept, seq))
            mended.add(seq)
    return f"{len(mended):,} texts from their versions"


def rebuild_versions(driver: sqlite3.Connection) -> str:
    dropped = driver.execute(
        "DELETE FROM memory_versions AS v WHERE NOT EXISTS (SELECT 1 FROM memories m WHERE"
        " m.tenant_id = v.tenant_id AND m.user_id = v.user_id AND m.id = v.memory_id)"
    ).rowcount
    made = driver.execute(
        "INSERT INTO memory_versions (tenant_id, user_id, memory_id, version, event, text, metadata, importance,"
        " expires_at, at, valid_from, actor) SELECT tenant_id, user_id, id, version, 'ADD', text, metadata,"
        " importance, expires_at, updated_at, min(created_at, updated_at), 'doctor' FROM memories m"
        " WHERE NOT EXISTS (SELECT 1 FROM memory_versions v WHERE"
        " v.tenant_id = m.tenant_id AND v.user_id = m.user_id AND v.memory_id = m.id)"
    ).rowcount
    return f"the history: {made:,} versions made, {dropped:,} without a memory removed"


def rebuild_words(driver: sqlite3.Connection) -> str:
    """Make the index of words anew from the texts; its definition is the one in the database."""
    definitions = driver.execute(
        "SELECT name, sql FROM sqlite_master WHERE name IN ('memory_terms', 'memory_vocabulary')"
    ).fetchall()
    for name, _ in sorted(definitions, reverse=True):
        driver.execute(f"DROP TABLE {name}")
    for _, sql in sorted(definitions):
        driver.execute(sql)
    rows = driver.execute(
        "SELECT m.seq, m.text, m.name, m.term_count, u.number FROM memories m"
        " JOIN users u ON u.tenant_id = m.tenant_id AND u.user_id = m.user_id"
    )
    total = 0
    for seq, text, name, term_count, number in rows:
        terms = document_terms(indexed_text(text, name))
        indexed = words_of(number, terms)
        driver.execute("INSERT INTO memory_terms (rowid, terms) VALUES (?, ?)", (seq, indexed))
        if term_count != len(terms):
            driver.execute("UPDATE memories SET term_count = ? WHERE seq = ?", (len(terms), seq))
        total += 1
    return f"the words of {total:,} memories"


def drop_unsound_vectors(driver: sqlite3.Connection) -> str:
    """What is then missing is embedded anew."""
    unsound = unsound_vectors(driver)
    driver.executemany("DELETE FROM vectors WHERE tenant_id = ? AND user_id = ? AND space = ? AND seq = ?", unsound)
    orphans = driver.execute(
        "DELETE FROM vectors AS v WHERE NOT EXISTS (SELECT 1 FROM memories m WHERE m.seq = v.seq"
        " AND m.tenant_id = v.tenant_id AND m.user_id = v.user_id)"
    ).rowcount
    return f"{len(unsound):,} unsound vectors and {orphans:,} without a memory removed"


def recount(driver: sqlite3.Connection) -> str:
    driver.execute(
        "UPDATE users AS u SET memories = m.n, terms = m.t FROM (SELECT u2.number, count(m.seq) AS n,"
        " coalesce(sum(m.term_count), 0) AS t FROM users u2 LEFT JOIN memories m ON m.tenant_id = u2.tenant_id"
        " AND m.user_id = u2.user_id GROUP BY u2.number) m WHERE m.number = u.number"
    )
    driver.execute("DELETE FROM user_spaces")
    driver.execute(
        "INSERT INTO user_spaces (tenant_id, user_id, space, vectors)"
        " SELECT tenant_id, user_id, space, count(*) FROM vectors GROUP BY 1, 2, 3"
    )
    return "the counts"


def renew_caches(driver: sqlite3.Connection) -> None:
    """Every process builds its indexes anew: the revision moves on, and with it all rows."""
    driver.execute("UPDATE users SET revision = revision + 1, reset_revision = revision + 1")
    driver.execute(
        "UPDATE memories AS m SET revision = (SELECT revision FROM users u WHERE u.tenant_id = m.tenant_id"
        " AND u.user_id = m.user_id)"
    )


# In this order: words and vectors follow from texts, counts from all.
REPAIRS: dict[Remedy, Callable[[sqlite3.Connection], str]] = {
    "indexes": rebuild_indexes,
    "texts": restore_texts,
    "versions": rebuild_versions,
    "words": rebuild_words,
    "vectors": drop_unsound_vectors,
    "counts": recount,
}
