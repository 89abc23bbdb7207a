"""Which of a user's memories a filter names, kept while nobody writes to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maas.storage.protocol import Seqs, Where


class Narrowing:
    """Rows, ascending, that answer one narrowing of one user's memories at one revision."""

    def __init__(self) -> None:
        self._known: tuple[int, Seqs] = (-1, np.empty(0, np.int64))

    @property
    def nbytes(self) -> int:
        return self._known[1].nbytes + 500

    def rows(self, revision: int, ask: Callable[[], Seqs]) -> Seqs:
        """The rows at ``revision``, from ``ask`` unless they are known."""
        known, rows = self._known
        if known != revision:
            rows = np.sort(ask())
            if revision > known:
                self._known = revision, rows
        return rows


def narrowing_key(where: Where) -> str:
    """Equal only for equal narrowings: unlike ``==``, it tells True from 1. The time of asking plays no part."""
    return repr((where.agent_id, where.session_id, where.since, where.until, where.filters))
