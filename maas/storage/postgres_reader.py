"""Vectors in PostgreSQL: pgvector searches those of users who have very many, and whatever a writer asks for.

All others are searched in this process, as SQLite's are, once they have been read from the snapshot that asks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, LargeBinary, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import distinct_on

from maas.embedders.protocol import Vectors
from maas.records import Memory, Scope
from maas.storage.by_dialect import ListOf, among
from maas.storage.engine import Transaction
from maas.storage.postgres_index import nearest_indexed, search_widely
from maas.storage.prepared import Prepared
from maas.storage.reader import NOTHING, Caches
from maas.storage.rows import MEMORY_COLUMNS, PACKED_VECTOR, to_memory
from maas.storage.statements import LIVE, OWNED, owner
from maas.storage.tables import Reals, memories, vectors
from maas.storage.values import Hits, Scores, Seqs, Where
from maas.storage.vector_index import damaged, index_bytes
from maas.storage.vector_reader import VectorReader

_SEQS = bindparam("seqs", type_=ListOf(BigInteger))
_QUERIES = bindparam("queries", type_=LargeBinary)
# The negative inner product: of unit vectors, the cosine. Found with the question in two bytes a number, which is
# fastest, and scored with it whole. What is found comes packed: a row for each number would take longer than all else.
_NEAREST = """
    SELECT asked.number, string_agg(int8send(near.seq), ''), string_agg(float4send(near.cosine), '')
    FROM (
        SELECT number, CAST((CAST(:queries AS real[]))[(number - 1) * :dim + 1 : number * :dim] AS vector) AS vector
        FROM generate_series(1, :count) AS number OFFSET 0
    ) AS asked
    CROSS JOIN LATERAL (
        SELECT found.seq, CAST(-(CAST(found.vector AS vector) <#> asked.vector) AS real) AS cosine
        FROM (
            SELECT v.seq, v.vector FROM vectors v
            WHERE v.tenant_id = :tenant AND v.user_id = :user AND v.space = :space AND [searched]
            ORDER BY v.vector <#> CAST(asked.vector AS halfvec) LIMIT :k
        ) AS found
    ) AS near
    GROUP BY asked.number"""
# The question is read once, not anew for each row.
_SCORES = """
    SELECT string_agg(int8send(v.seq), ''), string_agg(float4send(CAST(-(CAST(v.vector AS vector)
        <#> (SELECT CAST(CAST(:queries AS real[]) AS vector))) AS real)), '')
    FROM vectors v WHERE v.tenant_id = :tenant AND v.user_id = :user AND v.space = :space AND [searched]"""


def _searching(statement: str, searched: str, *numbers: str) -> Prepared:
    bound = (bindparam(name, type_=BigInteger) for name in ("space", *numbers))
    return Prepared(text(statement.replace("[searched]", searched)).bindparams(_SEQS, _QUERIES, *bound))


WITHOUT, AMONG = "v.seq <> ALL (:seqs)", "v.seq = ANY (:seqs)"
NEAREST_WITHOUT = _searching(_NEAREST, WITHOUT, "count", "dim", "k")
NEAREST_AMONG = _searching(_NEAREST, AMONG, "count", "dim", "k")
SCORES_WITHOUT = _searching(_SCORES, WITHOUT)
SCORES_AMONG = _searching(_SCORES, AMONG)
_OWN_VECTORS = (
    vectors.c.tenant_id == bindparam("tenant"),
    vectors.c.user_id == bindparam("user"),
    vectors.c.space == bindparam("space"),
    among(vectors.c.seq, "seqs"),
)
# One round trip for any number of texts; of each the row stored first.
LIVE_BY_HASHES = Prepared(
    select(*MEMORY_COLUMNS, memories.c.text_hash)
    .ext(distinct_on(memories.c.text_hash))
    .where(*OWNED, memories.c.text_hash == func.any(bindparam("hashes", type_=ListOf(LargeBinary))), *LIVE)
    .order_by(memories.c.text_hash, memories.c.seq)
)
VECTORS = Prepared(select(vectors.c.seq, PACKED_VECTOR).where(*_OWN_VECTORS))
# All in one value each: as rows they would take the driver longer than all else.
_PACKED = """
    SELECT string_agg(int8send(v.seq), ''), string_agg(halfvec_send(v.vector), '')
    FROM vectors v WHERE v.tenant_id = :tenant AND v.user_id = :user AND v.space = :space"""
_CHANGED = """ AND v.seq IN (
    SELECT m.seq FROM memories m WHERE m.tenant_id = :tenant AND m.user_id = :user AND m.revision > :since)"""
_NUMBERS = (bindparam("space", type_=BigInteger), bindparam("since", type_=BigInteger))
ALL_VECTORS = Prepared(text(_PACKED).bindparams(_NUMBERS[0]))
CHANGED_VECTORS = Prepared(text(_PACKED + _CHANGED).bindparams(*_NUMBERS))
_HEADER = 4  # bytes, in front of a halfvec's numbers


class PostgresReader(VectorReader):
    """Implements ReadTransaction; see maas/storage/protocol.py for what each method promises."""

    def __init__(self, transaction: Transaction[Any], caches: Caches, exact_up_to: int = 0) -> None:
        super().__init__(transaction, caches, exact_up_to)
        self._scored: dict[tuple[Scope, str, bytes], Hits] = {}

    def by_hash(self, scope: Scope, hashes: Collection[bytes], now: datetime) -> dict[bytes, Memory]:
        rows = LIVE_BY_HASHES.each(self._driver, **owner(scope), hashes=hashes, now=now)
        return {bytes(row[-1]): to_memory(row) for row in rows}

    def dense(self, scope: Scope, fingerprint: str, queries: Vectors, k: int, where: Where) -> list[Hits]:
        if self._searched_here(scope, fingerprint):
            return super().dense(scope, fingerprint, queries, k, where)
        space = self._space(fingerprint)
        if space is None or not len(queries):
            return [NOTHING for _ in queries]
        allowed, left_out = self._once((scope, where), lambda: self._visible(scope, where))
        seqs = left_out if allowed is None else allowed
        own = {**owner(scope), "space": space.space, "seqs": seqs.tolist()}
        searched = self._facts(scope).vectors.get(space.space, 0) if allowed is None else len(allowed)
        if 0 < self._exact_up_to < searched:
            statement = nearest_indexed(WITHOUT if allowed is None else AMONG, space.dim)
            search_widely(self._driver, k)
            rows = [statement.planned_anew(self._driver, **own, k=k, queries=Reals.of(query))[0] for query in queries]
            found = [_ranked(*row) for row in rows]
        elif searched <= k:  # all are wanted
            statement = SCORES_WITHOUT if allowed is None else SCORES_AMONG
            rows = [statement.rows(self._driver, **own, queries=Reals.of(query))[0] for query in queries]
            found = [_ranked(*row) for row in rows]
        else:
            statement = NEAREST_WITHOUT if allowed is None else NEAREST_AMONG
            asked = {"queries": Reals.of(queries.ravel()), "count": len(queries), "dim": space.dim, "k": k}
            found = [NOTHING for _ in queries]
            for number, *packed in statement.each(self._driver, **own, **asked):
                found[number - 1] = _ranked(*packed)
        if len(queries) == 1 and not self._writes:
            self._scored[scope, fingerprint, queries.tobytes()] = found[0]
        return found

    def similarities(self, scope: Scope, fingerprint: str, query: NDArray[np.float32], seqs: Seqs) -> Scores:
        if self._searched_here(scope, fingerprint):
            return super().similarities(scope, fingerprint, query, seqs)
        result = np.full(len(seqs), np.nan, np.float32)
        space = self._space(fingerprint)
        if space is None:
            return result
        # A recall asks this for what it has just found, and for a few that only words have.
        _fill_in(result, seqs, self._scored.get((scope, fingerprint, query.tobytes()), NOTHING))
        missing = seqs[np.isnan(result)]
        if len(missing):
            own = {**owner(scope), "space": space.space, "seqs": missing.tolist()}
            (row,) = SCORES_AMONG.rows(self._driver, **own, queries=Reals.of(query))
            _fill_in(result, seqs, _ranked(*row))
        return result

    def rows(self, scope: Scope, fingerprint: str, seqs: Seqs) -> tuple[NDArray[np.bool_], Vectors]:
        if self._searched_here(scope, fingerprint):
            return super().rows(scope, fingerprint, seqs)
        space = self._space(fingerprint)
        if space is None or not len(seqs):
            return np.zeros(len(seqs), np.bool_), np.empty((0, 0 if space is None else space.dim), np.float32)
        own = {**owner(scope), "space": space.space, "seqs": seqs.tolist()}
        found = dict(VECTORS.rows(self._driver, **own))
        here = np.array([seq in found for seq in own["seqs"]], np.bool_)
        packed = b"".join(found[seq] for seq in seqs[here].tolist())
        return here, np.frombuffer(packed, "<f2").reshape(-1, space.dim).astype(np.float32)

    def _searched_here(self, scope: Scope, fingerprint: str) -> bool:
        """Whether the vectors are few enough to be compared one by one, and to stay in memory."""
        if self._writes:  # its revision may never be committed
            return False
        space = self._space(fingerprint)
        if space is None or self._user(scope) is None:  # there are none
            return True
        count = self._facts(scope).vectors.get(space.space, 0)
        few = not self._exact_up_to or count <= self._exact_up_to
        return few and index_bytes(count, space.dim) <= self._caches.vectors.limit

    def _changed_vectors(self, own: dict[str, Any], since: int, dim: int) -> Iterator[tuple[int, bytes]]:
        if since == 0:
            packed = ALL_VECTORS.first(self._driver, **own)
        else:
            packed = CHANGED_VECTORS.first(self._driver, **own, since=since)
        if packed is None or packed[0] is None:
            return
        seqs = np.frombuffer(packed[0], ">i8").tolist()
        if len(packed[1]) != len(seqs) * (_HEADER + 2 * dim):
            raise damaged()
        numbers = np.frombuffer(packed[1], ">u2").reshape(len(seqs), -1)[:, _HEADER // 2 :].byteswap().tobytes()
        size = 2 * dim
        for place, seq in enumerate(seqs):
            yield seq, numbers[place * size : (place + 1) * size]


def _ranked(packed_seqs: bytes | None, packed_scores: bytes | None) -> Hits:
    """Best first, of equals the one stored last; None for no rows."""
    seqs = np.frombuffer(packed_seqs or b"", ">i8").astype(np.int64)
    scores = np.frombuffer(packed_scores or b"", ">f4").astype(np.float32)
    order = np.lexsort((-seqs, -scores))
    return Hits(seqs[order], scores[order])


def _fill_in(scores: Scores, seqs: Seqs, known: Hits) -> None:
    """Write the scores of those rows (n,) that are known, in place."""
    if len(known.seqs):
        order = np.argsort(known.seqs)
        place = order[np.minimum(np.searchsorted(known.seqs, seqs, sorter=order), len(order) - 1)]
        here = known.seqs[place] == seqs
        scores[here] = known.scores[place[here]]
