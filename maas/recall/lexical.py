"""BM25F over one user's memories: a turn's own words, those of its neighbours, and those of its session.

Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), section 3.6: each field's term
frequency is divided by that field's own length, the fields are summed by weight, and the sum saturates once. Lucene's
idf, which is never negative. k1 and b are the values of that literature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

K1 = 1.2
B = 0.75
# Words of the turn before count half: an answer is understood from its question. Those of the turn after, less.
BEFORE = 0.5
AFTER = 0.3
# How much a session about the question's words adds to each of its turns.
SESSION = 0.4

Places = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a user's memories lie beside each other; a memory is named by its place 0 … n−1.

    Attributes:
        seqs: (n,) row numbers, ascending.
        lengths: (n,) terms of each.
        created: (n,) microseconds since 1970.
        before, after: (n,) place of the session's turn before and after; −1 where there is none.
        session: (n,) number of its session, −1 for a memory of none.
        session_lengths: (s,) terms of each session.
        speaker: (n,) index into ``speakers``, −1 for a memory nobody said.
        speakers: names as stored.
        assistant: (n,) True for what was not said by a person.
    """

    seqs: Places
    lengths: Values
    created: Places
    before: Places
    after: Places
    session: Places
    session_lengths: Values
    speaker: Places
    speakers: tuple[str, ...]
    assistant: NDArray[np.bool_]

    def places(self, seqs: Places) -> Places:
        """Places of rows (m,); −1 for a row that is not here."""
        if not len(self.seqs):
            return np.full(len(seqs), -1)
        place = np.minimum(np.searchsorted(self.seqs, seqs), len(self.seqs) - 1)
        return np.where(self.seqs[place] == seqs, place, -1)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the words say: (n,) by place, each the share in 0..1 of what a perfect match would reach.

    ``own`` is what a turn's own words would reach alone; with those of its neighbours it is ``turn``, which is more.
    ``weights`` are the idf of the query's terms, in their order.
    """

    own: Values
    turn: Values
    session: Values
    weights: tuple[float, ...]


def bm25(postings: Sequence[Places], layout: Layout) -> Evidence:
    """Score every memory.

    Args:
        postings: for each query term the places of the memories that hold it, ascending, a place once an occurrence.
        layout: where the memories lie.
    """
    n, sessions = len(layout.seqs), len(layout.session_lengths)
    norm = _length_norm(layout.lengths)
    session_norm = _length_norm(layout.session_lengths)
    own, turn, session = np.zeros(n), np.zeros(n), np.zeros(sessions)
    weights: list[float] = []
    for occurrences in postings:
        places, counts = _counted(occurrences)
        weight = _idf(n, len(places))
        weights.append(weight)
        frequency = counts / norm[places]
        own[places] += weight * frequency / (frequency + K1)
        field = np.zeros(n + 1)  # what has no neighbour writes to the last place, which nobody reads
        field[places] = frequency
        field[layout.after[places]] += BEFORE * frequency
        field[layout.before[places]] += AFTER * frequency
        found = np.flatnonzero(field[:n])
        turn[found] += weight * field[found] / (field[found] + K1)
        if sessions > 1:
            held = np.bincount(layout.session[places] + 1, weights=counts, minlength=sessions + 1)[1:] / session_norm
            session += _idf(sessions, int(np.count_nonzero(held))) * held / (held + K1)
    ceiling = sum(weights)
    if ceiling:
        own /= ceiling
        turn /= ceiling
        session = np.minimum(session / ceiling, 1)
    return Evidence(own, turn, np.append(session, 0.0)[layout.session], tuple(weights))


def combined(evidence: Evidence) -> Values:
    """One share in 0..1 from those of turn and session, (n,)."""
    share: Values = (evidence.turn + SESSION * evidence.session) / (1 + SESSION)
    return share


def _counted(occurrences: Places) -> tuple[Places, Values]:
    fresh = np.ones(len(occurrences), np.bool_)
    np.not_equal(occurrences[1:], occurrences[:-1], out=fresh[1:])
    starts = np.flatnonzero(fresh)
    counts = np.empty(len(starts))
    counts[:-1] = starts[1:] - starts[:-1]
    counts[-1:] = len(occurrences) - starts[-1:]
    return occurrences[starts], counts


def _idf(documents: int, holders: int) -> float:
    return float(np.log1p((documents - holders + 0.5) / (holders + 0.5)))


def _length_norm(lengths: Values) -> Values:
    average = max(1.0, float(lengths.mean())) if len(lengths) else 1.0
    norm: Values = 1 - B + B * lengths / average
    return norm
