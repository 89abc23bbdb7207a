"""The readable twin of :func:`maas.recall.lexical.bm25`: every term is an array over all memories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maas.recall.lexical import AFTER, BEFORE, K1, B, Layout

Values = NDArray[np.float64]


def dense_bm25(
    occurrences: Sequence[NDArray[np.int64]], layout: Layout
) -> tuple[Values, Values, Values, tuple[float, ...]]:
    """Shares (n,) of own words, turn and session, and the terms' weights; a place is listed once an occurrence."""
    n, sessions = len(layout.seqs), len(layout.session_lengths)
    own, turn, session = np.zeros(n), np.zeros(n), np.zeros(sessions)
    members = layout.session >= 0
    weights = []
    for places in occurrences:
        counts = np.bincount(places, minlength=n)
        weight = _idf(n, int(np.count_nonzero(counts)))
        frequency = counts / _norm(layout.lengths)
        own += weight * frequency / (frequency + K1)
        field = frequency.copy()
        field[layout.after[layout.after >= 0]] += BEFORE * frequency[layout.after >= 0]
        field[layout.before[layout.before >= 0]] += AFTER * frequency[layout.before >= 0]
        turn += weight * field / (field + K1)
        if sessions > 1:
            counted = np.bincount(layout.session[members], weights=counts[members], minlength=sessions)
            held = counted / _norm(layout.session_lengths)
            session += _idf(sessions, int(np.count_nonzero(held))) * held / (held + K1)
        weights.append(weight)
    ceiling = sum(weights) or 1
    by_session = np.append(np.minimum(session / ceiling, 1), 0)
    return own / ceiling, turn / ceiling, by_session[layout.session], tuple(weights)


def _idf(documents: int, holders: int) -> float:
    return float(np.log1p((documents - holders + 0.5) / (holders + 0.5)))


def _norm(lengths: Values) -> Values:
    norm: Values = 1 - B + B * lengths / max(1.0, float(lengths.mean()))
    return norm
