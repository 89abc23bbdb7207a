"""Ranking by similarity, and the measures of a ranking, each a share in 0..1.

For a query with relevant documents G (grades rel > 0) and the ranking r₁ r₂ …:

    mean@k   |G ∩ {r₁…r_k}| / |G|           share of the relevant found (recall@k)
    any@k    1 if at least one is found
    ndcg@k   Σ_{i≤k} rel(r_i) / log₂(i+1), over the same sum of the best possible order (as trec_eval's ndcg_cut)
    mrr@k    1 / rank of the first relevant, 0 if it is not among the first k
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]


def top(similarity: NDArray[np.float32] | NDArray[np.float64], k: int) -> Indices:
    """Indices of the k best documents of each query, best first; equals go in document order.

    Args:
        similarity: (queries, documents), higher is better.

    Returns:
        (queries, min(k, documents)).
    """
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]


def measures(
    ranked: Indices, relevant: Sequence[Mapping[int, float]], names: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Each measure of each query.

    Args:
        ranked: (queries, k) document indices, best first.
        relevant: document index → grade > 0, for each query; at least one.
        names: such as ``"ndcg@10"``; the number must not exceed k unless all documents are ranked.

    Returns:
        A (queries,) array for each name.

    Raises:
        ValueError: a query without relevant documents, or a name that is no measure.
    """
    for index, grades in enumerate(relevant):
        if not grades or min(grades.values()) <= 0:
            raise ValueError(f"query {index} has the grades {dict(grades)}; expected at least one, all above 0")
    gains = np.array(
        [[grades.get(int(doc), 0.0) for doc in row] for row, grades in zip(ranked, relevant, strict=True)]
    ).reshape(len(relevant), -1)
    return {name: _measure(name, gains, relevant) for name in names}


def _measure(name: str, gains: NDArray[np.float64], relevant: Sequence[Mapping[int, float]]) -> NDArray[np.float64]:
    kind, _, cut = name.partition("@")
    k = int(cut)
    first = gains[:, :k]
    sizes = np.array([len(grades) for grades in relevant])
    found: NDArray[np.float64]
    if kind == "mean":
        found = np.asarray((first > 0).sum(axis=1) / sizes)
    elif kind == "any":
        found = np.asarray((first > 0).any(axis=1), dtype=np.float64)
    elif kind == "mrr":
        hit = first > 0
        found = np.where(hit.any(axis=1), 1.0 / (hit.argmax(axis=1) + 1), 0.0)
    elif kind == "ndcg":
        discount = 1.0 / np.log2(np.arange(2, k + 2))
        best = [sorted(grades.values(), reverse=True)[:k] for grades in relevant]
        ideal = np.array([np.dot(grades, discount[: len(grades)]) for grades in best])
        found = np.asarray(first @ discount[: first.shape[1]] / ideal)
    else:
        raise ValueError(f"{name!r} is no measure; known are mean@k, any@k, mrr@k, ndcg@k")
    return found


def percent(values: NDArray[np.float64]) -> float:
    """Mean in percent."""
    return 100.0 * float(values.mean())
