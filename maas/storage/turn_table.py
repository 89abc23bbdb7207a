"""Where each of a user's memories stands in its session, and how long it is; kept in step by the user's revision."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maas.recall.lexical import Layout
from maas.storage.protocol import Seqs


class TurnRow(NamedTuple):
    """One memory; ``at`` is its created_at in microseconds."""

    seq: int
    terms: int
    session: str | None
    at: int
    name: str | None
    role: str | None


LoadTurns = Callable[[int], Iterable[TurnRow]]
LoadSeqs = Callable[[], Seqs]

_COLUMNS = np.dtype(
    [("seq", "i8"), ("terms", "i8"), ("session", "i8"), ("at", "i8"), ("speaker", "i8"), ("assistant", "?")]
)
_NOT_PERSONS = frozenset({"assistant", "system", "tool"})


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
        return 3 * self._rows.nbytes + 100 * (len(self._sessions) + len(self._speakers)) + 1_000

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
            # New rows have the highest numbers; a changed one is put in its place again.
            self._rows = rows[np.argsort(rows["seq"], kind="stable")]
            self._layout = None
            self.revision = revision

    def layout(self) -> Layout:
        with self._lock:
            if self._layout is None:
                self._layout = _laid_out(self._rows, tuple(self._speakers))
            return self._layout

    def _coded(self, rows: Iterable[TurnRow]) -> NDArray[np.void]:
        coded = [
            (
                row.seq,
                row.terms,
                -1 if row.session is None else self._sessions.setdefault(row.session, len(self._sessions)),
                row.at,
                -1 if row.name is None else self._speakers.setdefault(row.name, len(self._speakers)),
                row.role in _NOT_PERSONS,
            )
            for row in rows
        ]
        table = np.array(coded, _COLUMNS)
        return table[np.argsort(table["seq"], kind="stable")]


def _laid_out(rows: NDArray[np.void], speakers: tuple[str, ...]) -> Layout:
    lengths = rows["terms"].astype(np.float64)
    session = np.full(len(rows), -1)
    members = np.flatnonzero(rows["session"] >= 0)
    session[members] = np.unique(rows["session"][members], return_inverse=True)[1]
    before, after = np.full(len(rows), -1), np.full(len(rows), -1)
    order = np.lexsort((rows["seq"], rows["at"], session))
    first, second = order[:-1], order[1:]
    joined = (session[first] == session[second]) & (session[first] >= 0)
    before[second[joined]], after[first[joined]] = first[joined], second[joined]
    return Layout(
        seqs=np.ascontiguousarray(rows["seq"]),
        lengths=lengths,
        created=np.ascontiguousarray(rows["at"]),
        before=before,
        after=after,
        session=session,
        session_lengths=np.bincount(session[members], weights=lengths[members]).astype(np.float64),
        speaker=np.ascontiguousarray(rows["speaker"]),
        speakers=speakers,
        assistant=np.ascontiguousarray(rows["assistant"]),
    )
