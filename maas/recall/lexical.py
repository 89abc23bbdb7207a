"""BM25 over one user's memories.

Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with Lucene's idf, which
is never negative. k1 and b are the values of that literature.
"""

from __future__ import annotations

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
        postings: for each query term the documents that hold it, (occurrences,) ascending, a document once an
            occurrence.
        documents: how many documents the user has.
        total_terms: their lengths summed.
        lengths: documents (n,) → their lengths in terms (n,).

    Returns:
        documents (n,) ascending; scores (n,); and the ceiling, which no score reaches: every term, infinitely often.
    """
    terms = np.repeat(np.arange(len(postings)), [len(found) for found in postings])
    occurrences = np.concatenate([*postings, np.empty(0, np.int64)])
    # One entry for each pair of a term and a document that holds it.
    starts = np.flatnonzero((np.diff(occurrences, prepend=-1) != 0) | (np.diff(terms, prepend=-1) != 0))
    frequency = np.diff(starts, append=len(occurrences))
    holder, term = occurrences[starts], terms[starts]
    holders = np.bincount(term, minlength=len(postings))
    idf = np.log1p(np.maximum(documents - holders + 0.5, 0) / (holders + 0.5))
    documents_held, place = np.unique(holder, return_inverse=True)
    average = max(1.0, total_terms / max(1, documents))
    norm = K1 * (1 - B + B * lengths(documents_held) / average)
    part = idf[term] * frequency * (K1 + 1) / (frequency + norm[place])
    scores = np.bincount(place, weights=part, minlength=len(documents_held)).astype(np.float64)
    return documents_held, scores, float(idf.sum() * (K1 + 1))
