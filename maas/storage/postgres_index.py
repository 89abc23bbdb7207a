"""Users with very many vectors: an HNSW index for each, of that user alone, beside which the others search exactly.

An index over everybody's vectors would cost every write and, filtered to one user, find too little. One of a single
user's is made and dropped by :func:`tune`, while servers go on, and costs no other user anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import psycopg
from psycopg import sql
from sqlalchemy import BigInteger, Engine, LargeBinary, bindparam, text

from maas.errors import ConflictError
from maas.storage.by_dialect import ListOf
from maas.storage.prepared import Prepared

PREFIX = "vectors_near_"
_TUNING = 6_173_002  # the advisory lock of whoever tunes
# Twice as many candidates as are asked for: with as many the farthest of them are often missed. pgvector takes no more.
_LEAST_EF, _MOST_EF = 100, 1000
_BREADTH = "SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'relaxed_order', true)"
_GIANTS = """
    SELECT u.number, u.tenant_id, u.user_id, s.space, s.dim, us.vectors FROM user_spaces us
    JOIN users u ON u.tenant_id = us.tenant_id AND u.user_id = us.user_id JOIN spaces s ON s.space = us.space
    WHERE us.vectors > %s ORDER BY u.number, s.space"""
_INDEXES = """
    SELECT c.relname, i.indisvalid FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'vectors'::regclass AND c.relname LIKE %s"""
# The same as the exact search, but for the cast, which is the index's own expression: no other statement can meet it.
_NEAREST = """
    SELECT string_agg(int8send(near.seq), ''), string_agg(float4send(near.cosine), '')
    FROM (
        SELECT found.seq, CAST(-(CAST(found.vector AS vector) <#> CAST(CAST(:queries AS real[]) AS vector)) AS real)
            AS cosine
        FROM (
            SELECT v.seq, v.vector FROM vectors v
            WHERE v.tenant_id = :tenant AND v.user_id = :user AND v.space = :space AND [searched]
            ORDER BY CAST(v.vector AS halfvec([dim])) <#> CAST(CAST(:queries AS real[]) AS halfvec([dim])) LIMIT :k
        ) AS found
    ) AS near"""


@lru_cache(maxsize=64)
def nearest_indexed(searched: str, dim: int) -> Prepared:
    """For one question among the rows that ``searched`` lets through; run with :meth:`Prepared.planned_anew`."""
    statement = text(_NEAREST.replace("[searched]", searched).replace("[dim]", str(int(dim))))
    numbers = (bindparam(name, type_=BigInteger) for name in ("space", "k"))
    seqs = bindparam("seqs", type_=ListOf(BigInteger))
    return Prepared(statement.bindparams(seqs, bindparam("queries", type_=LargeBinary), *numbers))


def search_widely(driver: psycopg.Connection[Any], k: int) -> None:
    """Until the transaction ends: so many candidates at a time, and more until ``k`` have passed the filter."""
    driver.execute(_BREADTH, (str(min(_MOST_EF, max(_LEAST_EF, 2 * k))),))


@dataclass(frozen=True, slots=True)
class Giant:
    """A user with many vectors in a space of ``dim`` numbers."""

    number: int
    tenant: str
    user_id: str
    space: int
    dim: int
    vectors: int

    @property
    def index(self) -> str:
        return f"{PREFIX}{self.number}_{self.space}"


def giants(driver: psycopg.Connection[Any], exact_up_to: int) -> list[Giant]:
    return [Giant(*row) for row in driver.execute(_GIANTS, (exact_up_to,))]


def indexes(driver: psycopg.Connection[Any], number: int | None = None) -> dict[str, bool]:
    """Names of those that are there, of one user or of all, and whether they can be used."""
    pattern = f"{PREFIX}{'' if number is None else f'{number}_'}%".replace("_", "\\_")
    return dict(driver.execute(_INDEXES, (pattern,)).fetchall())


def tune(engine: Engine, exact_up_to: int, report: Callable[[str], None]) -> tuple[list[str], list[str]]:
    """Make the indexes that are missing, and drop those that nobody needs or that were left half made.

    Args:
        exact_up_to: vectors of a user that are searched one by one.
        report: told the name of an index before it is made.

    Returns:
        Names of those made, and of those dropped.

    Raises:
        ConflictError: another process is at it.
    """
    with _patient(engine) as driver:
        row = driver.execute("SELECT pg_try_advisory_lock(%s)", (_TUNING,)).fetchone()
        if row is None or not row[0]:
            raise ConflictError("another process makes indexes in this database; wait for it to end")
        try:
            wanted = {giant.index: giant for giant in giants(driver, exact_up_to)}
            there = indexes(driver)
            useless = [name for name, valid in there.items() if name not in wanted or not valid]
            for name in useless:
                _drop(driver, name)
            missing = [giant for name, giant in wanted.items() if name not in there or name in useless]
            for giant in missing:
                report(giant.index)
                driver.execute(_definition(giant))
            return [giant.index for giant in missing], [name for name in useless if name not in wanted]
        finally:
            driver.execute("SELECT pg_advisory_unlock(%s)", (_TUNING,))


def drop_indexes(engine: Engine, number: int) -> None:
    """Of a user who was erased: its definition names them."""
    with _patient(engine) as driver:
        for name in indexes(driver, number):
            _drop(driver, name)


@contextmanager
def _patient(engine: Engine) -> Iterator[psycopg.Connection[Any]]:
    """A connection outside of any transaction, that waits for those of others as long as they last."""
    pooled = engine.raw_connection()
    try:
        driver = cast("psycopg.Connection[Any]", pooled.dbapi_connection)
        driver.execute("SET lock_timeout = 0")
        yield driver
    finally:
        pooled.invalidate()  # with its setting
        pooled.close()


def _definition(giant: Giant) -> sql.Composed:
    return sql.SQL(
        "CREATE INDEX CONCURRENTLY {name} ON vectors USING hnsw ((CAST(vector AS halfvec({dim}))) halfvec_ip_ops)"
        " WHERE tenant_id = {tenant} AND user_id = {user} AND space = {space}"
    ).format(
        name=sql.Identifier(giant.index),
        dim=sql.Literal(giant.dim),
        tenant=sql.Literal(giant.tenant),
        user=sql.Literal(giant.user_id),
        space=sql.Literal(giant.space),
    )


def _drop(driver: psycopg.Connection[Any], name: str) -> None:
    driver.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(name)))
