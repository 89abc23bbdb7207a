"""Vectors in PostgreSQL, searched by pgvector: every one of the user's, unless these have an index of their own."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Float, Text, bindparam, cast, select, text

from maas.embedders.protocol import Vectors
from maas.records import Scope
from maas.storage.by_dialect import ListOf, among
from maas.storage.prepared import Prepared
from maas.storage.protocol import Hits, Scores, Seqs, Where
from maas.storage.reader import NOTHING, Reader
from maas.storage.rows import PACKED_VECTOR
from maas.storage.statements import owner
from maas.storage.tables import FullVector, vectors

_SEQS = bindparam("seqs", type_=ListOf(BigInteger))
# The negative inner product: of unit vectors, the cosine. Found with the question in two bytes a number, which is
# fastest, and scored with it whole.
_NEAREST = """
    SELECT asked.number, near.seq, -(CAST(near.vector AS vector) <#> asked.vector) AS cosine
    FROM unnest(CAST(:queries AS vector[])) WITH ORDINALITY AS asked (vector, number)
    CROSS JOIN LATERAL (
        SELECT v.seq, v.vector FROM vectors v
        WHERE v.tenant_id = :tenant AND v.user_id = :user AND v.space = :space AND [searched]
        ORDER BY v.vector <#> CAST(asked.vector AS halfvec) LIMIT :k
    ) AS near
    ORDER BY asked.number, cosine DESC, near.seq DESC"""


def _nearest(searched: str) -> Prepared:
    statement = text(_NEAREST.replace("[searched]", searched))
    return Prepared(statement.bindparams(_SEQS, bindparam("queries", type_=ListOf(Text))))


NEAREST_WITHOUT = _nearest("v.seq <> ALL (:seqs)")
NEAREST_AMONG = _nearest("v.seq = ANY (:seqs)")
_OWN_VECTORS = (
    vectors.c.tenant_id == bindparam("tenant"),
    vectors.c.user_id == bindparam("user"),
    vectors.c.space == bindparam("space"),
    among(vectors.c.seq, "seqs"),
)
_WHOLE = cast(vectors.c.vector, FullVector())
_DISTANCE = _WHOLE.op("<#>", return_type=Float())(cast(bindparam("query", type_=Text), FullVector()))
SIMILARITIES = Prepared(select(vectors.c.seq, -_DISTANCE).where(*_OWN_VECTORS))
VECTORS = Prepared(select(vectors.c.seq, PACKED_VECTOR).where(*_OWN_VECTORS))


class PostgresReader(Reader):
    """Implements ReadTransaction; see maas/storage/protocol.py for what each method promises."""

    def dense(self, scope: Scope, fingerprint: str, queries: Vectors, k: int, where: Where) -> list[Hits]:
        space = self._space(fingerprint)
        if space is None:
            return [NOTHING for _ in queries]
        allowed, left_out = self._once((scope, where), lambda: self._visible(scope, where))
        statement = NEAREST_WITHOUT if allowed is None else NEAREST_AMONG
        seqs = left_out if allowed is None else allowed
        asked = [_literal(query) for query in queries]
        found: list[list[tuple[int, float]]] = [[] for _ in asked]
        own = {**owner(scope), "space": space.space}
        for number, seq, score in statement.each(self._driver, **own, queries=asked, k=k, seqs=seqs.tolist()):
            found[number - 1].append((seq, score))
        return [_hits(near) for near in found]

    def similarities(self, scope: Scope, fingerprint: str, query: NDArray[np.float32], seqs: Seqs) -> Scores:
        result = np.full(len(seqs), np.nan, np.float32)
        space = self._space(fingerprint)
        if space is not None and len(seqs):
            own = {**owner(scope), "space": space.space, "seqs": seqs.tolist(), "query": _literal(query)}
            scores = dict(SIMILARITIES.rows(self._driver, **own))
            result[:] = [scores.get(seq, np.nan) for seq in own["seqs"]]
        return result

    def rows(self, scope: Scope, fingerprint: str, seqs: Seqs) -> tuple[NDArray[np.bool_], Vectors]:
        space = self._space(fingerprint)
        if space is None or not len(seqs):
            return np.zeros(len(seqs), np.bool_), np.empty((0, 0 if space is None else space.dim), np.float32)
        own = {**owner(scope), "space": space.space, "seqs": seqs.tolist()}
        found = dict(VECTORS.rows(self._driver, **own))
        here = np.array([seq in found for seq in own["seqs"]], np.bool_)
        packed = b"".join(found[seq] for seq in seqs[here].tolist())
        return here, np.frombuffer(packed, "<f2").reshape(-1, space.dim).astype(np.float32)


def _literal(vector: NDArray[np.floating]) -> str:
    return f"[{','.join(map(repr, vector.tolist()))}]"


def _hits(near: Iterable[tuple[int, float]]) -> Hits:
    pairs = list(near)
    return Hits(np.array([seq for seq, _ in pairs], np.int64), np.array([score for _, score in pairs], np.float32))
