"""One user's vectors of one space in FAISS, kept in step with the database by the user's revision.

They lie there as in the database, in float16. The twin to read is :func:`brute_force`; a test holds the two equal
over random histories.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import Vectors
from maas.errors import StorageError
from maas.storage.protocol import Hits, Scores, Seqs

_CHUNK = 10_000
_FIXED_BYTES = 1_000
_NORM_TOLERANCE = 0.1
# From here on unpacking the rows once and multiplying matrices is faster than FAISS's pass for each query.
_MANY_QUERIES = 8

LoadVectors = Callable[[int], Iterator[tuple[int, bytes]]]
LoadSeqs = Callable[[], Seqs]


def pack(vector: NDArray[np.floating]) -> bytes:
    """(dim,) → little-endian float16."""
    return vector.astype("<f2").tobytes()


class VectorIndex:
    """Exact inner-product search over rows; on unit vectors that is the cosine. Safe to share between threads."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.revision = 0
        self._exact: Any = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        self._index: Any = faiss.IndexIDMap(self._exact)
        self._newest = 0
        self._sorted: tuple[Seqs, Seqs] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def nbytes(self) -> int:
        return len(self) * (2 * self.dim + 24) + _FIXED_BYTES

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
            self._sorted = None
            if reset_revision > self.revision and len(self):
                kept = faiss.IDSelectorBatch(seqs())
                self._index.remove_ids(faiss.IDSelectorNot(kept))
            rows = changed(self.revision)
            while chunk := list(islice(rows, _CHUNK)):
                self._put(np.array([seq for seq, _ in chunk], np.int64), [blob for _, blob in chunk])
            self.revision = revision

    def search(
        self, queries: Vectors, k: int, *, allowed: Seqs | None = None, hidden: Seqs | None = None
    ) -> list[Hits]:
        """The ``k`` best rows for each of the (q, dim) queries: among ``allowed``, or all but ``hidden``."""
        with self._lock:
            k = min(k, len(self) if allowed is None else min(len(allowed), len(self)))
            if k == 0:
                return [Hits(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
            if len(queries) >= _MANY_QUERIES:
                return self._search_many(queries, k, allowed, hidden)
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

    def _search_many(self, queries: Vectors, k: int, allowed: Seqs | None, hidden: Seqs | None) -> list[Hits]:
        """:meth:`search` by matrix products: scores (q, rows) a chunk of rows at a time, ``k`` kept of each chunk."""
        seqs: Seqs = faiss.vector_to_array(self._index.id_map)
        codes = self._codes()
        chosen = hidden if allowed is None else allowed
        if chosen is not None and len(chosen):
            searched = np.isin(seqs, chosen, invert=allowed is None)
            seqs, codes = seqs[searched], codes[searched]
        if not len(seqs):
            return [Hits(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        scores, found = [], []
        for start in range(0, len(seqs), _CHUNK):
            part = queries @ self._unpacked(codes[start : start + _CHUNK]).T
            worse = max(0, part.shape[1] - k)
            places = np.argpartition(part, worse, axis=1)[:, worse:]
            scores.append(np.take_along_axis(part, places, axis=1))
            found.append(seqs[start + places])
        best_scores, best_seqs = np.hstack(scores), np.hstack(found)
        order = np.argsort(-best_scores, axis=1, kind="stable")[:, :k]
        best_scores = np.take_along_axis(best_scores, order, axis=1)
        best_seqs = np.take_along_axis(best_seqs, order, axis=1)
        return [Hits(own_seqs, own_scores) for own_seqs, own_scores in zip(best_seqs, best_scores, strict=True)]

    def similarities(self, query: NDArray[np.float32], seqs: Seqs) -> Scores:
        """Inner product of (dim,) ``query`` with each row (n,); NaN for rows that are not here."""
        result = np.full(len(seqs), np.nan, np.float32)
        here, vectors = self.rows(seqs)
        result[here] = vectors @ query
        return result

    def rows(self, seqs: Seqs) -> tuple[NDArray[np.bool_], Vectors]:
        """Which of the rows (n,) are here, and the vectors of those, (m, dim)."""
        with self._lock:
            if not len(self):
                return np.zeros(len(seqs), np.bool_), np.empty((0, self.dim), np.float32)
            known, order = self._in_order()
            place = np.minimum(np.searchsorted(known, seqs), len(known) - 1)
            here = known[place] == seqs
            return here, self._unpacked(self._codes()[order[place[here]]])

    def _in_order(self) -> tuple[Seqs, Seqs]:
        """Rows (n,) ascending, and where each lies in the index."""
        if self._sorted is None:
            seqs: Seqs = faiss.vector_to_array(self._index.id_map)
            order = np.argsort(seqs, kind="stable")
            self._sorted = seqs[order], order
        return self._sorted

    def _codes(self) -> NDArray[np.uint8]:
        """The index's own memory, (n, 2 * dim): valid while the lock is held."""
        codes: NDArray[np.uint8] = faiss.rev_swig_ptr(self._exact.codes.data(), len(self) * 2 * self.dim)
        return codes.reshape(len(self), 2 * self.dim)

    def _unpacked(self, codes: NDArray[np.uint8]) -> Vectors:
        vectors: Vectors = self._exact.sa_decode(codes)
        return vectors

    def _put(self, seqs: Seqs, blobs: Sequence[bytes]) -> None:
        known = seqs[seqs <= self._newest]
        if len(known):  # else these are new, and nothing needs to be looked for
            self._index.remove_ids(known)
        if any(len(blob) != 2 * self.dim for blob in blobs):
            raise damaged()
        codes = np.frombuffer(b"".join(blobs), np.uint8).reshape(len(blobs), 2 * self.dim)
        # A damaged vector would give a wrong score, and nobody would see it.
        with np.errstate(all="ignore"):
            norms = np.linalg.norm(self._unpacked(codes), axis=1)
            if not (np.abs(norms - 1) < _NORM_TOLERANCE).all():
                raise damaged()
        self._index.add_sa_codes(codes, seqs)
        self._newest = max(self._newest, int(seqs.max()))


def unpack(blob: bytes) -> NDArray[np.float16]:
    """The twin of :func:`pack`. Raises StorageError for a blob that holds no whole numbers."""
    if len(blob) % 2:
        raise damaged()
    return np.frombuffer(blob, "<f2")


def damaged() -> StorageError:
    return StorageError("a stored vector is damaged; `maas doctor` finds it, and with --repair embeds it again")


def _parameters(selector: Any) -> Any:
    make: Any = faiss.SearchParameters
    return make(sel=selector)


def brute_force(seqs: Seqs, vectors: Vectors, query: NDArray[np.float32], k: int) -> Hits:
    """The readable twin of :meth:`VectorIndex.search`: score every row, sort, cut."""
    scores = vectors @ query
    best = np.argsort(-scores, kind="stable")[:k]
    return Hits(seqs[best], scores[best].astype(np.float32))
