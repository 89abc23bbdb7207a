"""How many terms each of a user's memories has, for BM25; kept in step by the user's revision."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from maas.storage.protocol import Seqs

LoadLengths = Callable[[int], tuple[Seqs, NDArray[np.int64]]]


class LengthTable:
    """Row → number of terms. Rows of removed memories may linger: nothing points at them any more."""

    def __init__(self) -> None:
        self.revision = 0
        self._seqs: Seqs = np.empty(0, np.int64)
        self._lengths: NDArray[np.int64] = np.empty(0, np.int64)
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        return self._seqs.nbytes + self._lengths.nbytes + 1_000

    def sync(self, revision: int, reset_revision: int, changed: LoadLengths) -> None:
        """Catch up with ``revision``; ``changed``: revision → rows (n,) and lengths (n,) changed after it."""
        with self._lock:
            if self.revision >= revision:
                return
            if reset_revision > self.revision:
                self.revision, self._seqs, self._lengths = 0, self._seqs[:0], self._lengths[:0]
            seqs, lengths = changed(self.revision)
            stays = ~np.isin(self._seqs, seqs)
            seqs = np.concatenate([self._seqs[stays], seqs])
            lengths = np.concatenate([self._lengths[stays], lengths])
            order = np.argsort(seqs)
            self._seqs, self._lengths = seqs[order], lengths[order]
            self.revision = revision

    def of(self, seqs: Seqs) -> NDArray[np.float64]:
        """Lengths (n,) of rows (n,); a row that is not here counts as empty."""
        with self._lock:
            known, lengths = self._seqs, self._lengths
        if not len(known):
            return np.zeros(len(seqs))
        place = np.minimum(np.searchsorted(known, seqs), len(known) - 1)
        return np.where(known[place] == seqs, lengths[place], 0).astype(np.float64)
