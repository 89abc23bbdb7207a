"""One user's vectors of one space in FAISS, kept in step with the database by the user's revision.

The twin to read is :func:`brute_force`; a test holds the two equal over random histories.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import Vectors
from maas.storage.protocol import Hits, Scores, Seqs

# What faiss keeps a row beside the vector: the id, and an entry of IDMap2's table.
_ROW_OVERHEAD = 8 + 48

LoadVectors = Callable[[int], Iterable[tuple[int, bytes]]]
LoadSeqs = Callable[[], Seqs]


def pack(vector: NDArray[np.floating]) -> bytes:
    """(dim,) → little-endian float16."""
    return vector.astype("<f2").tobytes()


def unpack(blobs: Sequence[bytes], dim: int) -> Vectors:
    """n blobs → (n, dim) float32."""
    return np.frombuffer(b"".join(blobs), dtype="<f2").reshape(-1, dim).astype(np.float32)


class VectorIndex:
    """Exact inner-product search over rows; on unit vectors that is the cosine. Safe to share between threads."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.revision = 0
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
        self._seqs: set[int] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._seqs)

    @property
    def nbytes(self) -> int:
        return len(self._seqs) * (4 * self.dim + _ROW_OVERHEAD + 32) + 1_000

    def sync(self, revision: int, reset_revision: int, seqs: LoadSeqs, changed: LoadVectors) -> None:
        """Catch up with the database.

        Args:
            revision: the user's revision in the snapshot being read. An index that is ahead of it stays as it is.
            reset_revision: the last revision that removed a row.
            seqs: all rows of the user in this snapshot.
            changed: revision → (row, blob) of the vectors that changed after it.
        """
        with self._lock:
            if self.revision >= revision:
                return
            if reset_revision > self.revision and self._seqs:
                kept = set(seqs().tolist())
                self._remove([seq for seq in self._seqs if seq not in kept])
            rows = list(changed(self.revision))
            if rows:
                self._put(np.array([seq for seq, _ in rows], np.int64), unpack([blob for _, blob in rows], self.dim))
            self.revision = revision

    def search(
        self, queries: Vectors, k: int, *, allowed: Seqs | None = None, hidden: Seqs | None = None
    ) -> list[Hits]:
        """The ``k`` best rows for each of the (q, dim) queries: among ``allowed``, or all but ``hidden``."""
        with self._lock:
            count = len(self._seqs) if allowed is None else min(len(allowed), len(self._seqs))
            k = min(k, count)
            if k == 0:
                return [Hits(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
            # Both selectors must outlive the search: faiss keeps bare pointers.
            batch: Any = None
            parameters: Any = None
            if allowed is not None:
                batch = faiss.IDSelectorBatch(allowed)
                parameters = _parameters(batch)
            elif hidden is not None and len(hidden):
                batch = faiss.IDSelectorBatch(hidden)
                inverse = faiss.IDSelectorNot(batch)
                parameters = _parameters(inverse)
            scores, seqs = self._index.search(np.ascontiguousarray(queries, np.float32), k, params=parameters)
        return [Hits(row[row >= 0], score[row >= 0]) for row, score in zip(seqs, scores, strict=True)]

    def similarities(self, query: NDArray[np.float32], seqs: Seqs) -> Scores:
        """Inner product of (dim,) ``query`` with each row (n,); NaN for rows that are not here."""
        result = np.full(len(seqs), np.nan, np.float32)
        with self._lock:
            here = np.fromiter(map(self._seqs.__contains__, seqs.tolist()), bool, len(seqs))
            if here.any():
                result[here] = self._index.reconstruct_batch(np.ascontiguousarray(seqs[here])) @ query
        return result

    def _put(self, seqs: Seqs, vectors: Vectors) -> None:
        self._remove([seq for seq in seqs.tolist() if seq in self._seqs])
        self._index.add_with_ids(vectors, seqs)
        self._seqs.update(seqs.tolist())

    def _remove(self, seqs: Sequence[int]) -> None:
        if seqs:
            self._index.remove_ids(np.array(seqs, np.int64))
            self._seqs.difference_update(seqs)


def _parameters(selector: Any) -> Any:
    make: Any = faiss.SearchParameters
    return make(sel=selector)


def brute_force(seqs: Seqs, vectors: Vectors, query: NDArray[np.float32], k: int) -> Hits:
    """The readable twin of :meth:`VectorIndex.search`: score every row, sort, cut."""
    scores = vectors @ query
    best = np.argsort(-scores, kind="stable")[:k]
    return Hits(seqs[best], scores[best].astype(np.float32))
