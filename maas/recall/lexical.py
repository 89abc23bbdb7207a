"""BM25 over one user's memories.

Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with Lucene's idf, which
is never negative. k1 and b are the values of that literature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

K1 = 1.2
B = 0.75

Postings = Sequence[NDArray[np.int64]]
Lengths = Callable[[NDArray[np.int64]], NDArray[np.float64]]


def bm25(
    postings: Postings, documents: int, total_terms: int, lengths: Lengths
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Score every document that holds a query term.

    Args:
        postings: for each query term the documents that hold it, (occurrences,), a document once an occurrence.
        documents: how many documents the user has.
        total_terms: their lengths summed.
        lengths: documents (n,) → their lengths in terms (n,).

    Returns:
        documents (n,) ascending; scores (n,); and the ceiling, which no score reaches: every term, infinitely often.
    """
    empty = np.empty(0, np.int64)
    found, holders, counts, weights = [], [], [], []
    ceiling = 0.0
    for occurrences in postings:
        held, count = np.unique(occurrences, return_counts=True)
        idf = math.log(1 + (documents - len(held) + 0.5) / (len(held) + 0.5)) if len(held) <= documents else 0.0
        ceiling += idf * (K1 + 1)
        holders.append(held)
        counts.append(count)
        weights.append(np.full(len(held), idf))
        found.append(len(held))
    if not sum(found):
        return empty, np.empty(0), ceiling
    documents_held, place = np.unique(np.concatenate(holders), return_inverse=True)
    average = max(1.0, total_terms / max(1, documents))
    norm = K1 * (1 - B + B * lengths(documents_held) / average)
    frequency = np.concatenate(counts)
    part = np.concatenate(weights) * frequency * (K1 + 1) / (frequency + norm[place])
    scores: NDArray[np.float64] = np.bincount(place, weights=part, minlength=len(documents_held)).astype(np.float64)
    return documents_held, scores, ceiling
