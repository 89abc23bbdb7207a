"""Vectors of turns that have read the turns around them, kept as a second space beside the turns' own.

A session is read in windows of whole turns, in one pass of the encoder each. A turn that arrives joins the open window,
which is read again: what stood there before learns what followed. One that comes between others, changes or goes moves
later ones to other windows, which are read again too. A turn alone in its window has nothing to read, and keeps its own
vector only. So does every turn until its window is read, and with an encoder that reads turns alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

import structlog

from maas.embedders.protocol import Embedder, contextual
from maas.errors import UnavailableError
from maas.items import indexed_text
from maas.recall.windows import packed, reach
from maas.records import Memory, Scope
from maas.storage.protocol import MemoryStore, WriteTransaction
from maas.storage.values import SessionTurn

# No window of so many terms is longer in tokens, code and other languages included, unless a single turn is.
WINDOW_TOKENS = 512
# Windows read between two transactions.
_ROUND = 16

log = structlog.get_logger(__name__)


def context_space(embedder: Embedder) -> str | None:
    """The fingerprint of an embedder's vectors in context; None if it reads every text alone."""
    return None if contextual(embedder) is None else f"{embedder.fingerprint}+context"


class Contexts:
    """Reads sessions for one embedder; does nothing for one that cannot.

    Attributes:
        space: fingerprint of the vectors in context; None if there are none.
    """

    def __init__(self, store: MemoryStore, embedder: Embedder) -> None:
        self._store = store
        self._reader = contextual(embedder)
        self.space = context_space(embedder)

    def settle(self, scope: Scope, session_id: str, *, changed: Collection[str] = ()) -> None:
        """Read what was just written in its context.

        It is written, and will be found by its own vector: an encoder that has gone away since is no failure. A reindex
        reads what was left.

        Args:
            changed: the memories that were written; none: look at the whole session.
        """
        try:
            self.read(scope, session_id, changed)
        except UnavailableError as error:
            log.warning("session not read in context", code=error.code, detail=error.detail)

    def read(self, scope: Scope, session_id: str, changed: Collection[str] = ()) -> None:
        """Read every window that holds a turn without a vector in context.

        Whoever changes the session meanwhile makes another window of it, which is read in the next round.
        """
        if self.space is None or self._reader is None:
            return
        while True:
            with self._store.read() as transaction:
                near = transaction.created_between(scope, changed) if changed else None
                turns = transaction.session_turns(scope, session_id, self.space, near)
                moved, windows = _moved(turns, changed), _unread(turns)[:_ROUND]
                if not moved and not windows:
                    return
                rows = transaction.by_seq(scope, [turn.seq for window in windows for turn in window])
            if moved:
                with self._store.write() as transaction:
                    self._drop_around(transaction, scope, session_id, changed)
                changed = ()
                continue
            vectors = []
            for window in windows:
                units = [indexed_text(rows[turn.seq].text, rows[turn.seq].name) for turn in window]
                vectors.append(self._reader.encode_in_context(units, WINDOW_TOKENS))
            with self._store.write() as transaction:
                current = set(_unread(transaction.session_turns(scope, session_id, self.space, near)))
                read = [
                    (turn.seq, vector)
                    for window, own in zip(windows, vectors, strict=True)
                    if window in current
                    for turn, vector in zip(window, own, strict=True)
                ]
                transaction.place_vectors(scope, self.space, read)

    def settle_user(self, scope: Scope) -> Iterator[str]:
        """Settle every session of a user; gives each session once it is done."""
        if self.space is None:
            return
        with self._store.read() as transaction:
            sessions = transaction.sessions(scope)
        for session_id in sessions:
            self.read(scope, session_id)
            yield session_id

    def forget(self, transaction: WriteTransaction, scope: Scope, memories: Iterable[Memory]) -> None:
        """Drop the vectors that have read memories which are about to be deleted, or to say something else."""
        sessions: dict[str, set[str]] = defaultdict(set)
        for memory in memories:
            if memory.session_id is not None:
                sessions[memory.session_id].add(memory.id)
        for session_id, ids in sessions.items():
            self._drop_around(transaction, scope, session_id, ids)

    def _drop_around(self, transaction: WriteTransaction, scope: Scope, session_id: str, ids: Collection[str]) -> None:
        """Drop the vectors of all turns in whose window these stand, stood, or will stand."""
        if self.space is None:
            return
        turns = transaction.session_turns(scope, session_id, self.space)
        near = (reach(turns, place) for place, turn in enumerate(turns) if turn.id in ids)
        places = {place for places in near for place in places}
        transaction.drop_vectors(scope, self.space, [turns[place].seq for place in places if turns[place].embedded])


def _moved(turns: Sequence[SessionTurn], changed: Collection[str]) -> bool:
    """Whether what has changed stands before turns that have been read: their windows may be other ones now."""
    first = next((place for place, turn in enumerate(turns) if turn.id in changed), len(turns))
    return any(turn.embedded and turn.id not in changed for turn in turns[first + 1 :])


def _unread(turns: Sequence[SessionTurn]) -> list[tuple[SessionTurn, ...]]:
    return [w for w in packed(turns) if len(w) > 1 and not all(turn.embedded for turn in w)]
