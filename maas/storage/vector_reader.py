"""Vectors of either database, searched in FAISS indexes in this process that are kept in step with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import Vectors
from maas.records import Scope
from maas.storage import statements
from maas.storage.engine import Transaction
from maas.storage.facts import numbers
from maas.storage.reader import NOTHING, Caches, Reader
from maas.storage.statements import owner
from maas.storage.values import Hits, Scores, Seqs, Where
from maas.storage.vector_index import VectorIndex


class VectorReader(Reader):
    """Implements ReadTransaction; see maas/storage/protocol.py for what each method promises."""

    def __init__(self, transaction: Transaction[Any], caches: Caches, exact_up_to: int = 0) -> None:
        super().__init__(transaction, caches)
        self._exact_up_to = exact_up_to

    def dense(self, scope: Scope, fingerprint: str, queries: Vectors, k: int, where: Where) -> list[Hits]:
        index = self._vector_index(scope, fingerprint)
        if index is None:
            return [NOTHING for _ in queries]
        allowed, left_out = self._once((scope, where), lambda: self._visible(scope, where))
        return index.search(queries, k, allowed=allowed, hidden=left_out)

    def similarities(self, scope: Scope, fingerprint: str, query: NDArray[np.float32], seqs: Seqs) -> Scores:
        index = self._vector_index(scope, fingerprint)
        return np.full(len(seqs), np.nan, np.float32) if index is None else index.similarities(query, seqs)

    def rows(self, scope: Scope, fingerprint: str, seqs: Seqs) -> tuple[NDArray[np.bool_], Vectors]:
        index = self._vector_index(scope, fingerprint)
        if index is None:
            return np.zeros(len(seqs), np.bool_), np.empty((0, 0), np.float32)
        return index.rows(seqs)

    def _vector_index(self, scope: Scope, fingerprint: str) -> VectorIndex | None:
        user, space = self._user(scope), self._space(fingerprint)
        if user is None or space is None:
            return None

        def seqs() -> Seqs:
            return numbers(statements.SPACE_SEQS.scalar(self._driver, **owner(scope), space=space.space))

        def changed(since: int) -> Iterator[tuple[int, bytes]]:
            return self._changed_vectors({**owner(scope), "space": space.space}, since, space.dim)

        def empty() -> VectorIndex:
            return VectorIndex(space.dim, exact_up_to=self._exact_up_to, room=self._caches.vectors.limit)

        key = (user.number, space.space)
        # The revision of a user whom this transaction has changed may never be committed.
        index = empty() if scope in self._touched else self._caches.vectors.get(key, empty)
        expected = self._facts(scope).vectors.get(space.space, 0)
        index.sync(user.revision, user.reset_revision, seqs, changed, expected=expected)
        self._caches.vectors.settle(key, index)
        return index

    def _changed_vectors(self, own: dict[str, Any], since: int, dim: int) -> Iterator[tuple[int, bytes]]:
        """Rows of ``own``'s tenant, user and space with their packed vectors; ``since`` 0: all of them."""
        raise NotImplementedError
