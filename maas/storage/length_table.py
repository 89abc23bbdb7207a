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
            if len(self._seqs) and len(seqs) and seqs.min() <= self._seqs[-1]:
                stays = ~np.isin(self._seqs, seqs)
                self._seqs, self._lengths = self._seqs[stays], self._lengths[stays]
            order = np.argsort(seqs)
            # New rows have the highest numbers; a changed one is put in its place again.
            place = np.searchsorted(self._seqs, seqs[order])
            self._seqs = np.insert(self._seqs, place, seqs[order])
            self._lengths = np.insert(self._lengths, place, lengths[order])
            self.revision = revision

    def of(self, seqs: Seqs) -> NDArray[np.float64]:
        """Lengths (n,) of rows (n,); a row that is not here counts as empty."""
        with self._lock:
            known, lengths = self._seqs, self._lengths
        if not len(known):
            return np.zeros(len(seqs))
        place = np.minimum(np.searchsorted(known, seqs), len(known) - 1)
        return np.where(known[place] == seqs, lengths[place], 0).astype(np.float64)
