"""What follows from a user's rows, kept while nobody writes to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from maas.storage.cache import Sized
from maas.storage.tables import to_microseconds
from maas.storage.values import Seqs, Where

V = TypeVar("V", bound=Sized)


@dataclass(frozen=True, slots=True)
class Facts:
    """What nearly every recall asks about a user.

    Attributes:
        superseded: rows that another has replaced.
        expiring, expires_at: rows (n,) that expire, and when, in microseconds since 1970.
        important: whether any memory has an importance.
        latest: when the newest was said.
        vectors: number of vectors by space.
    """

    superseded: Seqs
    expiring: Seqs
    expires_at: NDArray[np.int64]
    important: bool
    latest: datetime | None
    vectors: Mapping[int, int]

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> Facts:
        """From the row of statements.FACTS."""
        superseded, expiring, important, latest, vectors = row
        seqs, times = numbers(expiring).reshape(-1, 2).T
        spaces, counts = numbers(vectors).reshape(-1, 2).T.tolist()
        by_space = dict(zip(spaces, counts, strict=True))
        return cls(numbers(superseded), seqs, times, important is not None, latest, by_space)

    @property
    def nbytes(self) -> int:
        return self.superseded.nbytes + 2 * self.expiring.nbytes + 500

    def expired(self, now: datetime) -> Seqs:
        rows: Seqs = self.expiring[self.expires_at <= to_microseconds(now)]
        return rows


class AtRevision(Generic[V]):
    """One such value, of the newest revision it was asked for at."""

    def __init__(self) -> None:
        self._known: tuple[int, V] | None = None

    @property
    def nbytes(self) -> int:
        return 500 if self._known is None else self._known[1].nbytes + 500

    def value(self, revision: int, ask: Callable[[], V]) -> V:
        """The value at ``revision``, from ``ask`` unless it is known."""
        known = self._known
        if known is not None and known[0] == revision:
            return known[1]
        value = ask()
        if known is None or revision > known[0]:
            self._known = revision, value
        return value


def narrowing_key(where: Where) -> str:
    """Equal only for equal narrowings: unlike ``==``, it tells True from 1. The time of asking plays no part."""
    return repr((where.agent_id, where.session_id, where.since, where.until, where.filters))


def numbers(listed: str | None) -> Seqs:
    """What group_concat gives: "3,5,8", or NULL for no rows."""
    return np.fromstring(listed or "", np.int64, sep=",")
