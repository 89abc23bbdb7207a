"""A coarse copy of one user's many vectors, an eighth of their size, that names candidates for an exact comparison.

Product quantisation (Jégou, Douze, Schmid 2011): each pair of dimensions is kept as one of 16 values that a sample has
shown, and FAISS reads the 4 bits of each with one instruction for 32 rows (fast scan).
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import Vectors
from maas.storage.values import Seqs

# As many as FAISS takes into account for 16 values.
SAMPLE = 4_096
FEWEST = 1_000
_BITS = 4
_SEQ_BYTES = 8


class Sketch:
    """Rows are only ever added: whoever removes or changes one leaves out, or adds again, what the sketch has of it.

    Args:
        sample: (n, dim) vectors like those to come; ``dim`` is even.
    """

    def __init__(self, sample: Vectors) -> None:
        dim = sample.shape[1]
        self._index: Any = faiss.IndexPQFastScan(dim, dim // 2, _BITS, faiss.METRIC_INNER_PRODUCT)
        self._index.train(np.ascontiguousarray(sample, np.float32))
        self._seqs = np.empty(0, np.int64)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    @property
    def nbytes(self) -> int:
        return self._used * sketch_bytes(int(self._index.d))

    def add(self, seqs: Seqs, vectors: Vectors) -> None:
        """Vectors (n, dim) of rows (n,); a row that is there already has one more."""
        if not len(seqs):
            return
        self._index.add(np.ascontiguousarray(vectors, np.float32))
        if self._used + len(seqs) > len(self._seqs):
            room = np.empty(len(seqs) + self._used // 4, np.int64)
            self._seqs = np.concatenate([self._seqs[: self._used], room])
        self._seqs[self._used : self._used + len(seqs)] = seqs
        self._used += len(seqs)

    def candidates(self, query: NDArray[np.float32], k: int) -> Seqs:
        """The rows, each once, of the ``k`` places that look nearest to (dim,) ``query`` by inner product."""
        _, places = self._index.search(np.ascontiguousarray(query[None, :], np.float32), min(k, self._used))
        return np.unique(self._seqs[places[0][places[0] >= 0]])


def sketch_bytes(dim: int) -> int:
    """Of one row."""
    return dim // 2 * _BITS // 8 + _SEQ_BYTES
