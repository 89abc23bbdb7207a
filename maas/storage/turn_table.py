"""Where each of a user's memories stands in its session, and how long it is; kept in step by the user's revision."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maas.recall.lexical import Layout, length_norms
from maas.storage.facts import numbers
from maas.storage.values import Seqs


class TurnGroup(NamedTuple):
    """Memories of one session, said by the same; ``seqs`` lists them as SQL gives a list: "3,5,8"."""

    session: str | None
    name: str | None
    role: str | None
    seqs: str


class Turns(NamedTuple):
    """Memories (n,) by column, in any order, and those of a session, a name or a role by group.

    ``at`` is their created_at in microseconds.
    """

    seqs: Seqs
    terms: Seqs
    at: Seqs
    groups: Sequence[TurnGroup]


LoadTurns = Callable[[int], Turns]
LoadSeqs = Callable[[], Seqs]

_COLUMNS = np.dtype(
    [("seq", "i8"), ("terms", "i8"), ("session", "i8"), ("at", "i8"), ("speaker", "i8"), ("assistant", "?")]
)
_NOT_PERSONS = frozenset({"assistant", "system", "tool"})
_NOBODY = np.iinfo(np.int64).max
# A row's, and what its layout takes.
_ROW_BYTES = _COLUMNS.itemsize + 67


class TurnTable:
    """Row → length, session, neighbours, speaker. A session's turns follow each other by time, then by row."""

    def __init__(self) -> None:
        self.revision = 0
        self._rows: NDArray[np.void] = np.empty(0, _COLUMNS)
        self._sessions: dict[str, int] = {}
        self._speakers: dict[str, int] = {}
        self._layout: Layout | None = None
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        return _ROW_BYTES * len(self._rows) + 100 * (len(self._sessions) + len(self._speakers)) + 1_000

    def sync(self, revision: int, reset_revision: int, seqs: LoadSeqs, changed: LoadTurns) -> None:
        """Catch up with ``revision``.

        Args:
            revision: the user's revision in the snapshot being read; a table that is ahead of it stays as it is.
            reset_revision: the last revision that removed a row.
            seqs: all rows of the user in this snapshot.
            changed: revision → the rows changed after it.
        """
        with self._lock:
            if self.revision >= revision:
                return
            new = self._coded(changed(self.revision))
            rows = self._rows
            if reset_revision > self.revision and len(rows):
                rows = rows[np.isin(rows["seq"], seqs())]
            if len(new) and len(rows) and new["seq"][0] <= rows["seq"][-1]:
                rows = rows[~np.isin(rows["seq"], new["seq"])]
                rows = np.concatenate([rows, new])
                # A changed row is put in its place again; new ones have the highest numbers.
                self._rows = rows[np.argsort(rows["seq"], kind="stable")]
            else:
                self._rows = np.concatenate([rows, new]) if len(rows) else new
            self._layout = None
            self.revision = revision

    def layout(self) -> Layout:
        with self._lock:
            if self._layout is None:
                self._layout = _laid_out(self.revision, self._rows, tuple(self._speakers))
            return self._layout

    def _coded(self, turns: Turns) -> NDArray[np.void]:
        table = np.empty(len(turns.seqs), _COLUMNS)
        order = np.argsort(turns.seqs, kind="stable")
        table["seq"], table["terms"], table["at"] = turns.seqs[order], turns.terms[order], turns.at[order]
        table["session"], table["speaker"], table["assistant"] = -1, -1, False
        if turns.groups:
            coded = np.array([self._code(group) for group in turns.groups], np.int64)
            sizes = [group.seqs.count(",") + 1 for group in turns.groups]
            listed = numbers(",".join(group.seqs for group in turns.groups))
            place = np.searchsorted(table["seq"], listed)
            for name, values in zip(("session", "speaker", "assistant"), coded.T, strict=True):
                table[name][place] = np.repeat(values, sizes)
        return table

    def _code(self, group: TurnGroup) -> tuple[int, int, bool]:
        return (
            -1 if group.session is None else self._sessions.setdefault(group.session, len(self._sessions)),
            -1 if group.name is None else self._speakers.setdefault(group.name, len(self._speakers)),
            group.role in _NOT_PERSONS,
        )


def _laid_out(revision: int, rows: NDArray[np.void], speakers: tuple[str, ...]) -> Layout:
    lengths = rows["terms"].astype(np.float64)
    session = np.full(len(rows), -1)
    before, after = np.full(len(rows), -1), np.full(len(rows), -1)
    between_people = np.zeros(len(rows), np.bool_)
    members = np.flatnonzero(rows["session"] >= 0)
    if len(members):
        session[members] = np.unique(rows["session"][members], return_inverse=True)[1]
        # Rows ascend: sorting that keeps equals in order settles those of one time by row.
        order = members[np.lexsort((rows["at"][members], session[members]))]
        first, second = order[:-1], order[1:]
        joined = session[first] == session[second]
        before[second[joined]], after[first[joined]] = first[joined], second[joined]
        starts = np.flatnonzero(np.append(True, ~joined))
        between_people[members] = _between_people(rows[order], starts)[session[members]]
    session_lengths = np.bincount(session[members], weights=lengths[members]).astype(np.float64)
    return Layout(
        revision=revision,
        seqs=np.ascontiguousarray(rows["seq"]),
        lengths=lengths,
        norms=length_norms(lengths),
        created=np.ascontiguousarray(rows["at"]),
        before=before,
        after=after,
        session=session,
        session_lengths=session_lengths,
        session_norms=length_norms(session_lengths),
        speaker=np.ascontiguousarray(rows["speaker"]),
        speakers=speakers,
        assistant=np.ascontiguousarray(rows["assistant"]),
        between_people=between_people,
        neighbours=bool((before >= 0).any()),
    )


def _between_people(rows: NDArray[np.void], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of rows that lie by session, whether two of a session's named speakers differ and no assistant is among them."""
    last, first = np.maximum.reduceat(rows["speaker"], starts), np.where(rows["speaker"] < 0, _NOBODY, rows["speaker"])
    several: NDArray[np.bool_] = np.minimum.reduceat(first, starts) < last
    return several & ~np.logical_or.reduceat(rows["assistant"], starts)
