"""BM25F over one user's memories: a turn's own words, those of its neighbours, and those of its session.

Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), section 3.6: each field's term
frequency is divided by that field's own length, the fields are summed by weight, and the sum saturates once. Lucene's
idf, which is never negative. k1 and b are the values of that literature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

K1 = 1.2
B = 0.75
# Words of the turn before count half: an answer is understood from its question. Those of the turn after, less.
BEFORE = 0.5
AFTER = 0.3
# How much a session about the question's words adds to each of its turns.
SESSION = 0.8

Places = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a user's memories lie beside each other; a memory is named by its place 0 … n−1.

    Attributes:
        revision: of the user, whose rows these are.
        seqs: (n,) row numbers, ascending.
        lengths: (n,) terms of each.
        norms: (n,) by what a memory's frequencies are divided.
        created: (n,) microseconds since 1970.
        before, after: (n,) place of the session's turn before and after; −1 where there is none.
        session: (n,) number of its session, −1 for a memory of none.
        session_lengths: (s,) terms of each session.
        session_norms: (s,) by what a session's frequencies are divided.
        speaker: (n,) index into ``speakers``, −1 for a memory nobody said.
        speakers: names as stored.
        assistant: (n,) True for what was not said by a person.
        between_people: (n,) True in sessions where people speak to each other, and no assistant does.
        neighbours: whether any memory has one.
    """

    revision: int
    seqs: Places
    lengths: Values
    norms: Values
    created: Places
    before: Places
    after: Places
    session: Places
    session_lengths: Values
    session_norms: Values
    speaker: Places
    speakers: tuple[str, ...]
    assistant: NDArray[np.bool_]
    between_people: NDArray[np.bool_]
    neighbours: bool

    def places(self, seqs: Places) -> Places:
        """Places of rows (m,); −1 for a row that is not here."""
        if not len(self.seqs):
            return np.full(len(seqs), -1)
        place = np.minimum(np.searchsorted(self.seqs, seqs), len(self.seqs) - 1)
        return np.where(self.seqs[place] == seqs, place, -1)


class Posting(NamedTuple):
    """Where a term occurs: places (m,) of the memories that hold it, ascending, and how often each does, (m,)."""

    places: Places
    counts: Values

    @property
    def nbytes(self) -> int:
        return self.places.nbytes + self.counts.nbytes

    @classmethod
    def of(cls, occurrences: Places) -> Posting:
        """From places that are listed once an occurrence, ascending."""
        fresh = np.ones(len(occurrences), np.bool_)
        np.not_equal(occurrences[1:], occurrences[:-1], out=fresh[1:])
        starts = np.flatnonzero(fresh)
        return cls(occurrences[starts], np.diff(starts, append=len(occurrences)).astype(np.float64))


class Shares(NamedTuple):
    """What the words say of some memories: (m,), each the share in 0..1 of what a perfect match would reach.

    ``own`` is what a turn's own words would reach alone; with those of its neighbours it is ``turn``, which is more.
    """

    own: Values
    turn: Values
    session: Values

    @property
    def combined(self) -> Values:
        """One share in 0..1 from those of turn and session, (m,)."""
        share: Values = (self.turn + SESSION * self.session) / (1 + SESSION)
        return share


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the words say of every memory.

    Attributes:
        touched: places (t,) of the memories that hold a term or stand beside one that does, ascending.
        own, turn: (n,) by place, not yet divided by ``ceiling``.
        session: (s + 1,) shares by session; the last is for memories of none.
        weights: idf of the query's terms, in their order.
        ceiling: what a perfect match would reach.
    """

    layout: Layout
    touched: Places
    own: Values
    turn: Values
    session: Values
    weights: tuple[float, ...]
    ceiling: float

    def at(self, places: Places) -> Shares:
        """Of the memories at ``places`` (m,)."""
        own = self.own[places] / self.ceiling
        turn = self.turn[places] / self.ceiling if self.layout.neighbours else own
        session = self.session[self.layout.session[places]] if len(self.session) > 1 else np.zeros(len(places))
        return Shares(own, turn, session)


def bm25(postings: Sequence[Posting], layout: Layout) -> Evidence:
    """Score every memory; what no term touches costs nothing.

    Args:
        postings: of each query term.
        layout: where the memories lie.
    """
    n, sessions = len(layout.seqs), len(layout.session_lengths)
    own, session = np.zeros(n), np.zeros(sessions)
    turn = np.zeros(n) if layout.neighbours else own
    field = np.zeros(n + 1 if layout.neighbours else 0)
    touched, beside = np.zeros(n, np.bool_), np.zeros(len(field), np.bool_)
    weights = tuple(_idf(n, len(places)) for places, _ in postings)
    for (places, counts), weight in zip(postings, weights, strict=True):
        frequency = counts / layout.norms[places]
        own[places] += weight * frequency / (frequency + K1)
        touched[places] = True
        if layout.neighbours:
            # What has no neighbour writes to the last place, which nobody reads.
            after, before = layout.after[places], layout.before[places]
            field[places] = frequency
            field[after] += BEFORE * frequency
            field[before] += AFTER * frequency
            for reached in (places, after, before):
                beside[reached] = True
            found = np.flatnonzero(beside[:n])
            values = field[found]
            turn[found] += weight * values / (values + K1)
            touched[found] = True
            field[found], field[n], beside[found] = 0, 0, False
        if sessions > 1:
            counted = np.bincount(layout.session[places] + 1, weights=counts, minlength=sessions + 1)[1:]
            held = counted / layout.session_norms
            session += _idf(sessions, int(np.count_nonzero(held))) * held / (held + K1)
    ceiling = sum(weights) or 1.0
    shares = np.append(np.minimum(session / ceiling, 1), 0.0)
    return Evidence(layout, np.flatnonzero(touched), own, turn, shares, weights, ceiling)


def highest(scores: Values, k: int) -> Places:
    """Where among ``scores`` (m,) the ``k`` highest stand, and all that tie with the last of them, ascending."""
    if len(scores) <= k:
        return np.arange(len(scores))
    return np.flatnonzero(scores >= np.partition(scores, -k)[-k])


def _idf(documents: int, holders: int) -> float:
    return float(np.log1p((documents - holders + 0.5) / (holders + 0.5)))


def length_norms(lengths: Values) -> Values:
    average = max(1.0, float(lengths.mean())) if len(lengths) else 1.0
    norm: Values = 1 - B + B * lengths / average
    return norm
