"""An answer that says several things instead of one thing several times.

Maximal marginal relevance: Carbonell & Goldstein, "The Use of MMR, Diversity-Based Reranking" (1998). The next memory
is the one with the greatest λ · relevance − (1 − λ) · (its greatest cosine with those chosen before).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import Vectors

# λ for a caller who asks for diversity without saying how much.
BALANCE = 0.7


def diversified(scores: NDArray[np.float64], vectors: Vectors, k: int, balance: float) -> list[int]:
    """Places of ``k`` memories in the order of MMR.

    Args:
        scores: (n,) descending; relevance is their share of the best.
        vectors: (n, dim) of unit length, or zeros for a memory that is like no other.
        balance: λ in 0..1; 1 keeps the order of the scores.
    """
    relevance = scores / max(float(scores.max(initial=0.0)), 1e-12)
    nearest = np.zeros(len(scores))
    left = np.ones(len(scores), np.bool_)
    chosen: list[int] = []
    while len(chosen) < min(k, len(scores)):
        gain = np.where(left, balance * relevance - (1 - balance) * nearest, -np.inf)
        best = int(np.argmax(gain))
        chosen.append(best)
        left[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return chosen
