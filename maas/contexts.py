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
from maas.recall.windows import packed
from maas.records import Memory, Scope
from maas.storage.protocol import MemoryStore, ReadTransaction, WriteTransaction
from maas.storage.values import SessionTurn, Span

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

    def settle(
        self, scope: Scope, session_id: str, *, changed: Collection[str] = (), around: Span | None = None
    ) -> None:
        """Read what was just written in its context.

        It is written, and will be found by its own vector: an encoder that has gone away since is no failure. A reindex
        reads what was left.

        Args:
            changed: the memories that were written; none and no ``around``: look at the whole session.
            around: times between which something was deleted.
        """
        try:
            self.read(scope, session_id, changed, around)
        except UnavailableError as error:
            log.warning("session not read in context", code=error.code, detail=error.detail)

    def read(self, scope: Scope, session_id: str, changed: Collection[str] = (), around: Span | None = None) -> None:
        """Read every window that holds a turn without a vector in context.

        Whoever changes the session meanwhile makes another window of it, which is read in the next round.
        """
        if self.space is None or self._reader is None:
            return
        looked = False
        while True:
            with self._store.read() as transaction:
                near = transaction.created_between(scope, changed) if changed else around
                turns = self._turns(transaction, scope, session_id, near, changed)
                moved, windows = [] if looked else _moved_by(turns, changed), _unread(turns)[:_ROUND]
                if not moved and not windows:
                    return
                rows = transaction.by_seq(scope, [turn.seq for window in windows for turn in window])
            looked = True
            if moved:
                with self._store.write() as transaction:
                    turns = self._turns(transaction, scope, session_id, near, changed)
                    transaction.drop_vectors(scope, self.space, _moved_by(turns, changed))
                continue
            vectors = []
            for window in windows:
                units = [indexed_text(rows[turn.seq].text, rows[turn.seq].name) for turn in window]
                vectors.append(self._reader.encode_in_context(units, WINDOW_TOKENS))
            with self._store.write() as transaction:
                current = set(_unread(self._turns(transaction, scope, session_id, near, changed)))
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
        """Drop the vectors that have read memories which are about to go, or to come back as something else."""
        if self.space is None:
            return
        sessions: dict[str, list[Memory]] = defaultdict(list)
        for memory in memories:
            if memory.session_id is not None:
                sessions[memory.session_id].append(memory)
        for session_id, own in sessions.items():
            times, ids = [memory.created_at for memory in own], {memory.id for memory in own}
            turns = self._turns(transaction, scope, session_id, (min(times), max(times)), ids)
            left = _windows([turn for turn in turns if turn.id not in ids])
            read = [turn.seq for window in _windows(turns) - left for turn in window if turn.embedded]
            transaction.drop_vectors(scope, self.space, read)

    def _turns(
        self, transaction: ReadTransaction, scope: Scope, session_id: str, near: Span | None, changed: Collection[str]
    ) -> list[SessionTurn]:
        """The turns around a change; the whole session if what has changed begins a window, which others may join."""
        assert self.space is not None
        turns = transaction.session_turns(scope, session_id, self.space, near)
        if near is None or not turns or turns[0].id not in changed or all(turn.id in changed for turn in turns):
            return turns
        return transaction.session_turns(scope, session_id, self.space)


def _windows(turns: Sequence[SessionTurn]) -> set[tuple[SessionTurn, ...]]:
    return set(packed(turns))


def _moved_by(turns: Sequence[SessionTurn], changed: Collection[str]) -> list[int]:
    """Rows that have been read in windows which are others since ``changed`` stand among them.

    Those in a window that holds an unread turn are left out: it is read again as a whole.
    """
    if not changed:
        return []
    now = _windows(turns)
    moved = _windows([turn for turn in turns if turn.id not in changed]) - now
    unread = {turn for window in now if len(window) > 1 and not all(t.embedded for t in window) for turn in window}
    return [turn.seq for window in moved for turn in window if turn.embedded and turn not in unread]


def _unread(turns: Sequence[SessionTurn]) -> list[tuple[SessionTurn, ...]]:
    return [w for w in packed(turns) if len(w) > 1 and not all(turn.embedded for turn in w)]
