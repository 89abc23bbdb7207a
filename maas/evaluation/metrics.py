"""Ranking metrics over binary relevance, each a share in 0..1.

For a question with gold set G and a ranking r₁ r₂ …:

    mean@k   |G ∩ {r₁…r_k}| / |G|          share of the gold found (recall@k)
    any@k    1 if at least one is found     (hit rate, success@k)
    all@k    1 if all are found
    mrr      1 / rank of the first hit, 0 if none was returned
    ndcg@k   Σ rel_i / log₂(i+1), over the best possible with min(|G|, k) hits
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

METRICS = ("mean@5", "mean@10", "any@5", "any@10", "all@10", "mrr", "ndcg@10")

Scores = NDArray[np.float64]


def score_ranking(ranked: Sequence[str], gold: Collection[str]) -> Scores:
    """Score one ranking.

    Args:
        ranked: distinct ids, best first; fewer than ten are allowed.
        gold: the relevant ids, at least one.

    Returns:
        (7,) in the order of :data:`METRICS`, each in 0..1.

    Raises:
        ValueError: no gold, or an id ranked twice.
    """
    if not gold:
        raise ValueError("a question without gold has no score; leave it out")
    if len(set(ranked)) != len(ranked):
        raise ValueError(f"the ranking of {len(ranked)} ids holds {len(set(ranked))} distinct; expected no repeats")
    relevant = set(gold)
    hits = np.fromiter((id_ in relevant for id_ in ranked), dtype=np.float64, count=len(ranked))
    found = {k: float(hits[:k].sum()) for k in (5, 10)}
    discounts = 1 / np.log2(np.arange(2, 12))
    ideal = discounts[: len(relevant)].sum()
    first = int(np.argmax(hits)) + 1 if hits.any() else 0
    return np.array(
        [
            found[5] / len(relevant),
            found[10] / len(relevant),
            found[5] > 0,
            found[10] > 0,
            found[10] == len(relevant),
            1 / first if first else 0.0,
            (hits[:10] * discounts[: len(hits[:10])]).sum() / ideal,
        ],
        dtype=np.float64,
    )


def average(scores: Iterable[Scores]) -> dict[str, float]:
    """Mean over questions in percent, rounded to two decimals; empty input gives zeros."""
    rows = list(scores)
    means = np.mean(rows, axis=0) if rows else np.zeros(len(METRICS))
    return {name: round(100 * float(value), 2) for name, value in zip(METRICS, means, strict=True)}


def percentiles(seconds: Sequence[float], points: Sequence[int] = (50, 95)) -> dict[str, float]:
    """Percentiles in milliseconds, ``{"p50": …}``; empty input gives zeros."""
    values = np.percentile(seconds, points) * 1000 if len(seconds) else np.zeros(len(points))
    return {f"p{point}": round(float(value), 3) for point, value in zip(points, values, strict=True)}


def by_label(scores: Mapping[str, Sequence[Scores]]) -> dict[str, dict[str, float]]:
    """:func:`average` for each label, labels kept in the given order."""
    return {label: average(rows) for label, rows in scores.items()}
