"""One user's vectors of one space in FAISS, kept in step with the database by the user's revision.

They lie there as in the database, in float16. The twin to read is :func:`brute_force`; a test holds the two equal
over random histories. Where there are many, a sketch of them names candidates, made in the background while every row
is compared; what is found is compared exactly in either case.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import Vectors
from maas.errors import StorageError
from maas.storage.sketch import FEWEST, SAMPLE, Sketch, sketch_bytes
from maas.storage.values import Hits, Scores, Seqs

_CHUNK = 10_000
# Rows read at once: few enough to stay in the processor's cache while they are checked and added.
_READ = 1_000
_FIXED_BYTES = 1_000
_NORM_TOLERANCE = 0.1
# From here on unpacking the rows once and multiplying matrices is faster than FAISS's pass for each query.
_MANY_QUERIES = 8
# Rows the sketch names: enough that the best ten of a million random directions are among them, or so many for each
# that is wanted.
_CANDIDATES = 2_000
_CANDIDATES_EACH = 10
_MOST_WANTED = 1_000
# Where fewer of the rows may be found, comparing these is as fast.
_LEAST_SHARE = 0.25
_MAKING = "maas-sketch"
# Of the sketch: with more it is made anew.
_MOST_OUTDATED = 0.1

LoadVectors = Callable[[int], Iterator[tuple[int, bytes]]]
LoadSeqs = Callable[[], Seqs]


def pack(vector: NDArray[np.floating]) -> bytes:
    """(dim,) → little-endian float16."""
    return vector.astype("<f2").tobytes()


class VectorIndex:
    """Inner-product search over rows; on unit vectors that is the cosine. Safe to share between threads.

    Args:
        exact_up_to: rows that are all compared; among more a sketch chooses. 0: always all of them.
        room: bytes that the index may take with its sketch; without enough for both there is none.
    """

    def __init__(self, dim: int, *, exact_up_to: int = 0, room: int = 0) -> None:
        self.dim = dim
        self.revision = 0
        self._exact_up_to = exact_up_to
        self._room = room
        self._sketch: Sketch | None = None
        self._sketching: threading.Thread | None = None
        self._late: list[Seqs] = []
        self._exact: Any = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        self._index: Any = faiss.IndexIDMap(self._exact)
        self._newest = 0
        self._sorted: tuple[Seqs, Seqs] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def nbytes(self) -> int:
        sketched = 0 if self._sketch is None else self._sketch.nbytes
        return self._plain_bytes + sketched

    @property
    def _plain_bytes(self) -> int:
        """Without a sketch."""
        return index_bytes(len(self), self.dim)

    def sync(
        self, revision: int, reset_revision: int, seqs: LoadSeqs, changed: LoadVectors, *, expected: int = 0
    ) -> None:
        """Catch up with the database.

        Args:
            revision: the user's revision in the snapshot being read. An index that is ahead of it stays as it is.
            reset_revision: the last revision that removed a row.
            seqs: all rows of the user in this snapshot.
            changed: revision → (row, blob) of the vectors that changed after it.
            expected: about how many rows there are, so that an empty index takes the memory for them at once.
        """
        with self._lock:
            if self.revision >= revision:
                return
            self._sorted = None
            if not len(self) and expected * 2 * self.dim <= self._room:
                # Grown chunk by chunk it would be copied at every doubling, and end with up to twice what it needs.
                self._exact.codes.resize(expected * 2 * self.dim)
                self._exact.codes.resize(0)
            if reset_revision > self.revision and len(self):
                kept = faiss.IDSelectorBatch(seqs())
                self._index.remove_ids(faiss.IDSelectorNot(kept))
            rows = changed(self.revision)
            while chunk := list(islice(rows, _READ)):
                numbers, blobs = zip(*chunk, strict=True)
                self._put(np.array(numbers, np.int64), blobs)
            self.revision = revision
            self._renew_sketch()

    def search(
        self, queries: Vectors, k: int, *, allowed: Seqs | None = None, hidden: Seqs | None = None
    ) -> list[Hits]:
        """The ``k`` best rows for each of the (q, dim) queries: among ``allowed``, or all but ``hidden``."""
        with self._lock:
            k = min(k, len(self) if allowed is None else min(len(allowed), len(self)))
            if k == 0:
                return [Hits(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
            if self._chosen_by_sketch(queries, k, allowed, hidden):
                found = [self._search_sketch(query, k, allowed, hidden) for query in queries]
                if all(len(hits.seqs) == k for hits in found):
                    return found
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

    def _chosen_by_sketch(self, queries: Vectors, k: int, allowed: Seqs | None, hidden: Seqs | None) -> bool:
        if self._sketch is None or len(queries) >= _MANY_QUERIES or k > _MOST_WANTED:
            return False
        searched = self._searched(allowed, hidden)
        return searched > self._exact_up_to and searched >= _LEAST_SHARE * len(self._sketch)

    def _searched(self, allowed: Seqs | None, hidden: Seqs | None) -> int:
        if allowed is not None:
            return len(allowed)
        return len(self) - (0 if hidden is None else len(hidden))

    def _search_sketch(self, query: NDArray[np.float32], k: int, allowed: Seqs | None, hidden: Seqs | None) -> Hits:
        assert self._sketch is not None
        wanted = max(_CANDIDATES, _CANDIDATES_EACH * k) * len(self._sketch) // self._searched(allowed, hidden)
        seqs = self._sketch.candidates(query, wanted)
        chosen = hidden if allowed is None else allowed
        if chosen is not None and len(chosen):
            seqs = seqs[np.isin(seqs, chosen, invert=allowed is None)]
        here, vectors = self._rows(seqs)
        return brute_force(seqs[here], vectors, query, k)

    def _renew_sketch(self) -> None:
        """Have a sketch made where one is wanted and none is, or the one there is names too many that are gone."""
        outdated = self._sketch is None or len(self._sketch) - len(self) > _MOST_OUTDATED * len(self)
        many = self._exact_up_to and len(self) > max(self._exact_up_to, FEWEST)
        if not outdated or not many or self._sketching is not None or self.dim % 2:
            return
        if self._plain_bytes + len(self) * sketch_bytes(self.dim) > self._room:
            return
        self._late = []
        seqs: Seqs = faiss.vector_to_array(self._index.id_map)
        # Without a hold on the index: an index that is dropped while its sketch is made ends the work.
        self._sketching = threading.Thread(target=_make_sketch, args=(weakref.ref(self), seqs), name=_MAKING)
        self._sketching.start()

    def take_sketch(self, sketch: Sketch | None) -> None:
        """Search by it from now on, with what came while it was made; None: it could not be made."""
        with self._lock:
            self._sketching = None
            if sketch is not None:
                for seqs in self._late:
                    here, vectors = self._rows(seqs)
                    sketch.add(seqs[here], vectors)
                self._sketch = sketch
            self._late = []

    @property
    def sketched(self) -> bool:
        """Whether a sketch chooses among the rows by now."""
        return self._sketch is not None

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
            return self._rows(seqs)

    def _rows(self, seqs: Seqs) -> tuple[NDArray[np.bool_], Vectors]:
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
        if set(map(len, blobs)) != {2 * self.dim}:
            raise damaged()
        codes = np.frombuffer(b"".join(blobs), np.uint8).reshape(len(blobs), 2 * self.dim)
        # A damaged vector would give a wrong score, and nobody would see it.
        with np.errstate(all="ignore"):
            vectors = self._unpacked(codes)
            norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
            if not (np.abs(norms - 1) < _NORM_TOLERANCE).all():
                raise damaged()
        self._index.add_sa_codes(codes, seqs)
        if self._sketch is not None:
            self._sketch.add(seqs, vectors)
        if self._sketching is not None:
            self._late.append(seqs)
        self._newest = max(self._newest, int(seqs.max()))


def index_bytes(rows: int, dim: int) -> int:
    """What an index of so many rows takes, without a sketch."""
    return rows * (2 * dim + 24) + _FIXED_BYTES


def _make_sketch(index: weakref.ref[VectorIndex], seqs: Seqs) -> None:
    sketch: Sketch | None = None
    step = max(1, len(seqs) // SAMPLE)
    try:
        here = index()
        if here is None:
            return
        _, sample = here.rows(seqs[::step])
        del here
        made = Sketch(sample)
        for start in range(0, len(seqs), _CHUNK):
            here = index()
            if here is None:
                return
            chunk = seqs[start : start + _CHUNK]
            present, vectors = here.rows(chunk)
            del here
            made.add(chunk[present], vectors)
        sketch = made
    finally:
        here = index()
        if here is not None:
            here.take_sketch(sketch)


def wait_for_sketches() -> None:
    """Until none is being made in this process."""
    for thread in threading.enumerate():
        if thread.name == _MAKING:
            thread.join()


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
