"""What somebody who looks at memories asks beside recall: whose there are, what lies around one, and all on a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import Embedder, Vectors
from maas.fields import Identifier
from maas.items import indexed_text
from maas.records import Landscape, Memory, Place, Scope, SearchHit, Surroundings, UserPage
from maas.requests import Request, UserListRequest, parse
from maas.storage.protocol import MemoryStore, ReadTransaction
from maas.storage.values import Where

TURNS_AROUND = 3
NEAREST = 6
MAP_LIMIT = 600


class _User(Request):
    user_id: Identifier


class Overviews:
    """The part of PersonalMemoryBrain that serves whoever looks around."""

    tenant: str
    _store: MemoryStore
    _embedder: Embedder
    _clock: Callable[[], datetime]
    _encode_all: Callable[[Sequence[str]], Vectors]
    _find: Callable[[ReadTransaction, str, str | None], tuple[Scope, Memory]]

    def list_users(self, **fields: Any) -> UserPage:
        """A page of the tenant's users, by id. ``fields`` are those of :class:`UserListRequest`."""
        request = parse(UserListRequest, fields)
        with self._store.read() as transaction:
            found = transaction.user_list(self.tenant, request.limit + 1, request.cursor or "", request.matching)
        page, more = found[: request.limit], len(found) > request.limit
        return UserPage(results=page, next_cursor=page[-1].user_id if more else None)

    def surroundings(self, memory_id: str, *, user_id: str | None = None) -> Surroundings:
        """The turns of its session around a memory, and the memories nearest in meaning, whose score is the cosine.

        Raises:
            NotFoundError: as for ``get``.
        """
        with self._store.read() as transaction:
            _, memory = self._find(transaction, memory_id, user_id)
        vector = self._encode_all([indexed_text(memory.text, memory.name)])
        with self._store.read() as transaction:
            scope, memory = self._find(transaction, memory_id, user_id)
            before, after = self._turns_around(transaction, scope, memory)
            space, where = self._embedder.fingerprint, Where(now=self._clock())
            (near,) = transaction.dense(scope, space, vector, NEAREST + 1, where)
            rows = transaction.by_seq(scope, near.seqs.tolist())
        nearest = [
            SearchHit(**vars(rows[seq]), score=min(1.0, max(0.0, score)))
            for seq, score in zip(near.seqs.tolist(), near.scores.tolist(), strict=True)
            if seq in rows and rows[seq].id != memory.id
        ]
        return Surroundings(before=before, after=after, nearest=nearest[:NEAREST])

    def _turns_around(
        self, transaction: ReadTransaction, scope: Scope, memory: Memory
    ) -> tuple[list[Memory], list[Memory]]:
        """Of a passage: the passages around it; of a turn: the turns."""
        if memory.document_id is not None:
            order = [(seq, passage.id) for seq, passage in transaction.passages(scope, memory.document_id)]
        elif memory.session_id is not None:
            turns = transaction.session_turns(scope, memory.session_id, self._embedder.fingerprint)
            order = [(turn.seq, turn.id) for turn in turns]
        else:
            return [], []
        place = next(i for i, (_, turn_id) in enumerate(order) if turn_id == memory.id)
        earlier, later = order[max(0, place - TURNS_AROUND) : place], order[place + 1 : place + TURNS_AROUND + 1]
        rows, now = transaction.by_seq(scope, [seq for seq, _ in (*earlier, *later)]), self._clock()

        def fresh(turns: Sequence[tuple[int, str]]) -> list[Memory]:
            found = [rows[seq] for seq, _ in turns if seq in rows]
            return [turn for turn in found if turn.expires_at is None or turn.expires_at > now]

        return fresh(earlier), fresh(later)

    def landscape(self, user_id: str, *, limit: int = MAP_LIMIT) -> Landscape:
        """The newest memories that have a vector of this embedder, on a plane."""
        scope = Scope(self.tenant, parse(_User, {"user_id": user_id}).user_id)
        space = self._embedder.fingerprint
        with self._store.read() as transaction:
            total = transaction.coverage(scope, space).memories
            newest = transaction.page(scope, Where(now=self._clock()), limit)
            here, vectors = transaction.rows(scope, space, np.array([seq for seq, _ in newest], np.int64))
        points, share = principal_plane(vectors)
        shown = [memory for (_, memory), placed in zip(newest, here.tolist(), strict=True) if placed]
        places = [Place(x=x, y=y, memory=memory) for (x, y), memory in zip(points.tolist(), shown, strict=True)]
        return Landscape(places=places, total=total, shown_variance=share)


def principal_plane(vectors: Vectors) -> tuple[NDArray[np.float64], float]:
    """(n, dim) vectors → (n, 2) coordinates in -1..1 on their first two principal components (Pearson, 1901), and the
    share of the variance these hold. Each axis points to where its largest weight is positive."""
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2)), 0.0
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    largest = axes[:, [-1, -2]]
    largest = largest * np.sign(largest[np.abs(largest).argmax(axis=0), [0, 1]])
    points = centred @ largest
    spread = np.abs(points).max()
    share = float(variances[-2:].sum() / max(variances.sum(), 1e-12))
    return points / max(spread, 1e-12), min(1.0, max(0.0, share))
