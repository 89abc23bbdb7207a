"""The rows that a copy between databases carries, read alike from SQLite and PostgreSQL, and what they hash to."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Table, Text, column, insert, literal_column, select, table, true
from sqlalchemy.engine import Connection, Row

from maas.storage import tables
from maas.storage.by_dialect import ByDialect
from maas.storage.prepared import Prepared
from maas.storage.rows import PACKED_VECTOR

# Parents first. A user's row comes last: its revision says that the others are there.
OF_A_USER = (
    tables.user_tags,
    tables.memories,
    tables.vectors,
    tables.user_spaces,
    tables.memory_versions,
    tables.documents,
    tables.document_sources,
    tables.users,
)
# Of all users together; small, and copied whole.
SHARED = (
    tables.spaces,
    tables.api_keys,
    tables.sessions,
    tables.idempotency_keys,
    tables.idempotency_users,
    tables.reindex_runs,
    tables.audit_log,
)
_CHUNK = 2_000
_WHOLE = 1 << 256

_words = table("memory_terms", column("rowid"), column("terms"))
# Beside the columns: a memory's words, as SQLite lists them, and as PostgreSQL counts them.
_TERMS = ByDialect(
    select(_words.c.terms).where(_words.c.rowid == tables.memories.c.seq).scalar_subquery(),
    literal_column(
        "(SELECT string_agg(lexeme || ':' || cardinality(positions), ' ' ORDER BY lexeme COLLATE \"C\")"
        " FROM unnest(memories.words))"
    ),
    type_=Text(),
)
_POSTGRES = {tables.memories: tables.postgres_memories, tables.vectors: tables.postgres_vectors}
INTO = {each: Prepared(insert(_POSTGRES.get(each, each))) for each in (*OF_A_USER, *SHARED)}

Where = ColumnElement[bool]
# How many rows, and the sum of their hashes: whatever their order.
Digest = tuple[int, int]


def rows(connection: Connection, of: Table, where: Where | None = None) -> Iterator[Row[Any]]:
    """Rows of a table, columns in its order, of ``memories`` the words as well."""
    columns: list[Any] = [PACKED_VECTOR if c is tables.vectors.c.vector else c for c in of.columns]
    if of is tables.memories:
        columns.append(_TERMS)
    query = select(*columns).select_from(of).where(true() if where is None else where)
    yield from connection.execution_options(yield_per=_CHUNK).execute(query)


def values(of: Table, row: Row[Any]) -> dict[str, Any]:
    """What PostgreSQL is to insert for a row read from SQLite."""
    found: dict[str, Any] = dict(zip(of.columns.keys(), row, strict=False))
    if of is tables.memories:
        listed = [word.split("_", 1) for word in (row[-1] or "").split()]
        found["words"] = (int(listed[0][0]) if listed else 0, [term for _, term in listed])
    return found


def digests(connection: Connection, of: Table) -> dict[tuple[str, str], Digest]:
    """Of each (tenant, user) in a table of users; of all rows, under ("", ""), in a shared one."""
    places = (of.columns.keys().index("tenant_id"), of.columns.keys().index("user_id")) if of in OF_A_USER else None
    sums: defaultdict[tuple[str, str], Digest] = defaultdict(lambda: (0, 0))
    on_sqlite = connection.dialect.name == "sqlite"
    for row in rows(connection, of):
        whose = ("", "") if places is None else (row[places[0]], row[places[1]])
        parts = tuple(row)
        if of is tables.memories:
            parts = (*parts[:-1], _counted(parts[-1] or "") if on_sqlite else parts[-1] or "")
        number = int.from_bytes(hashlib.sha256(repr(parts).encode()).digest(), "big")
        count, total = sums[whose]
        sums[whose] = count + 1, (total + number) % _WHOLE
    return dict(sums)


def together(found: Mapping[str, Mapping[tuple[str, str], Digest]]) -> str:
    """One SHA-256 over the digests of all tables and users."""
    whole = hashlib.sha256()
    for name in sorted(found):
        for whose in sorted(found[name]):
            whole.update(repr((name, whose, found[name][whose])).encode())
    return whole.hexdigest()


def high_marks(connection: Connection) -> dict[str, int]:
    """By table of SQLite, the highest row number it ever gave."""
    found: Any = select(column("name", Text), column("seq")).select_from(table("sqlite_sequence"))
    return {name: int(seq) for name, seq in connection.execute(found)}


def revisions(connection: Connection) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Of each (tenant, user): their number, revision, and how many memories they have."""
    own = tables.users.c
    found = connection.execute(select(own.tenant_id, own.user_id, own.number, own.revision, own.memories))
    return {(tenant, user): (number, revision, count) for tenant, user, number, revision, count in found}


def _counted(terms: str) -> str:
    """As the target shows a tsvector: "12_fish:2 12_sea:1"."""
    found = tables.fitting(Counter(terms.split()))
    return " ".join(f"{word}:{min(found[word], tables.MAX_POSITIONS)}" for word in sorted(found))
