"""BM25 over a list of texts: the lexical peer.

score(q, d) = Σ_{t∈q} idf(t) · tf(t,d)·(k₁+1) / (tf(t,d) + k₁·(1 − b + b·|d|/avg|d|)),
idf(t) = ln(1 + (N − df + ½)/(df + ½))      (Robertson & Zaragoza 2009, with Lucene's idf)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import Stemmer
from numpy.typing import NDArray
from scipy.sparse import csr_array

K1, B = 1.2, 0.75
_STOP = (
    "a an and are as at be been but by can could did do does for from had has have he her him his how i if in into is "
    "it its me my no not of on or our she should so than that the their them then there these they this to was we were "
    "what when where which who whom whose why will with would you your"
)
STOP_WORDS = frozenset(_STOP.split())
_WORD = re.compile(r"[a-z0-9]+")


def terms(text: str) -> list[str]:
    """Lower-case words without stop words, stemmed (Porter 2)."""
    stems: list[str] = Stemmer.Stemmer("english").stemWords(
        [word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]
    )
    return stems


class BM25:
    """Scores of every document for each query."""

    def __init__(self, documents: Sequence[str]) -> None:
        if not documents:
            raise ValueError("BM25 over no documents; expected at least one")
        self._index: dict[str, int] = {}
        counts = [Counter(terms(document)) for document in documents]
        rows, columns, frequencies = [], [], []
        for row, counted in enumerate(counts):
            for term, count in counted.items():
                rows.append(row)
                columns.append(self._index.setdefault(term, len(self._index)))
                frequencies.append(count)
        tf, column, row_of = np.array(frequencies, dtype=np.float64), np.array(columns, int), np.array(rows, int)
        lengths = np.array([sum(counted.values()) for counted in counts], dtype=np.float64)
        document_frequency = np.bincount(column, minlength=len(self._index))
        n = len(documents)
        idf = np.log1p((n - document_frequency + 0.5) / (document_frequency + 0.5))
        norm = K1 * (1 - B + B * lengths / max(lengths.mean(), 1e-12))
        weights = idf[column] * tf * (K1 + 1) / (tf + norm[row_of])
        self._weights = csr_array((weights, (row_of, column)), shape=(n, len(self._index)))

    def scores(self, queries: Sequence[str]) -> NDArray[np.float64]:
        """(queries, documents); a repeated query term counts each time."""
        wanted = np.zeros((len(self._index), len(queries)))
        for column, query in enumerate(queries):
            for term in terms(query):
                if term in self._index:
                    wanted[self._index[term], column] += 1
        scores: NDArray[np.float64] = np.asarray(self._weights @ wanted).T
        return scores
