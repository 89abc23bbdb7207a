"""Percentile bootstrap of correlations, all resamples at once.

A resample of n pairs is a vector of counts w (how often each pair was drawn). Pearson's r of the resample is the
correlation weighted by w; Spearman's is the same over the resample's own mid-ranks, which follow from the cumulative
counts in sorted order: no resample is ever sorted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_CHUNK = 500
_ROUNDING = 1e-12  # of a mean square: what is left of the variance of numbers that are all alike


def resampled(x: Floats, y: Floats, resamples: int = 10_000, seed: int = 0) -> tuple[Floats, Floats]:
    """Pearson and Spearman of each resample.

    Args:
        x, y: (n,) paired values.
        resamples: how many; the same seed draws the same pairs, so that two encoders can be compared pair by pair.

    Returns:
        Two arrays (resamples,).
    """
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"x has the shape {x.shape}, y {y.shape}; expected two equal lengths of at least 2")
    pearson, spearman = [], []
    for counts in _draws(len(x), resamples, seed):
        pearson.append(_weighted_correlation(x - x.mean(), y - y.mean(), counts))
        spearman.append(_weighted_correlation(_midranks(x, counts), _midranks(y, counts), counts))
    return np.concatenate(pearson), np.concatenate(spearman)


def interval(values: Floats, level: float = 0.95) -> tuple[float, float]:
    """The central share ``level`` of the values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _draws(n: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Counts (chunk, n), each row summing to n."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        drawn = generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _midranks(values: Floats, counts: Floats) -> Floats:
    """Rank of each value within each resample, equal values sharing their mean rank: (n,), (R, n) → (R, n)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    group_counts = np.add.reduceat(counts[:, order], starts, axis=1)
    group_ranks = group_counts.cumsum(axis=1) - (group_counts - 1) / 2
    group = np.empty(len(values), dtype=np.intp)
    group[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(values)]))
    ranks: Floats = group_ranks[:, group]
    return ranks - len(values) / 2  # centred, for the sums' sake


def _weighted_correlation(x: Floats, y: Floats, w: Floats) -> Floats:
    """Correlation over n draws given as counts; x and y are (n,) or (R, n), w (R, n). 0 where all drawn are alike."""
    n = w.shape[1]
    mean_x, mean_y = (w * x).sum(axis=1) / n, (w * y).sum(axis=1) / n
    covariance = (w * x * y).sum(axis=1) / n - mean_x * mean_y
    square_x, square_y = (w * x * x).sum(axis=1) / n, (w * y * y).sum(axis=1) / n
    variance_x, variance_y = square_x - mean_x**2, square_y - mean_y**2
    varies = (variance_x > _ROUNDING * square_x) & (variance_y > _ROUNDING * square_y)
    scale = np.sqrt(np.where(varies, variance_x * variance_y, 1.0))
    correlation: Floats = np.divide(covariance, scale, out=np.zeros_like(scale), where=varies)
    return correlation
