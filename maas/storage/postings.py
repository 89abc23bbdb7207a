"""Where one term occurs among a user's memories; kept in step by the user's revision, as turn tables are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from maas.recall.lexical import Layout, Places, Posting
from maas.records import Scope
from maas.storage import statements
from maas.storage.cache import ByteBoundedCache
from maas.storage.facts import numbers
from maas.storage.rows import UserRow, words_of
from maas.storage.statements import owner

if TYPE_CHECKING:
    from maas.storage.prepared import Driver

# With more rows changed, a term is read anew.
MOST_CHANGED = 1_000


class ChangedWords(NamedTuple):
    """Places of memories (m,), and the words that each has now, as the index holds them."""

    places: Places
    words: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class PostingAt:
    """A posting at a revision, among so many ``rows``, of which the last is the row ``last``."""

    revision: int
    rows: int
    last: int
    posting: Posting

    @classmethod
    def of(cls, layout: Layout, posting: Posting) -> PostingAt:
        rows = len(layout.seqs)
        return cls(layout.revision, rows, int(layout.seqs[-1]) if rows else 0, posting)

    def stands_in(self, layout: Layout, reset_revision: int) -> bool:
        """Whether the places are those of ``layout``: no row was removed since, and none came in between.

        Args:
            reset_revision: the last revision that removed a row.
        """
        if not reset_revision <= self.revision <= layout.revision or self.rows > len(layout.seqs):
            return False
        return self.rows == 0 or int(layout.seqs[self.rows - 1]) == self.last


class KeptPosting:
    """One term's, as it was last read or brought forward; empty until then. Safe to share between threads."""

    def __init__(self) -> None:
        self.newest: PostingAt | None = None

    @property
    def nbytes(self) -> int:
        return 500 if self.newest is None else 500 + self.newest.posting.nbytes

    def put(self, read: PostingAt) -> None:
        newest = self.newest
        if newest is None or read.revision > newest.revision:
            self.newest = read


def _with_changes(posting: Posting, changed: ChangedWords, word: str) -> Posting:
    """A term's posting once the changed memories hold what they hold now; ``word`` is the term in the index."""
    places, counts = posting
    if len(places) and len(changed.places) and changed.places.min() <= places[-1]:
        stays = ~np.isin(places, changed.places)
        places, counts = places[stays], counts[stays]
    now = np.array([words.count(word) for words in changed.words], np.float64)
    holds = now > 0
    if not holds.any():
        return Posting(places, counts)
    places, counts = np.concatenate([places, changed.places[holds]]), np.concatenate([counts, now[holds]])
    order = np.argsort(places, kind="stable")
    return Posting(places[order], counts[order])


def postings_of(
    driver: Driver,
    scope: Scope,
    user: UserRow,
    terms: Sequence[str],
    layout: Layout,
    cache: ByteBoundedCache[KeptPosting] | None,
) -> list[Posting]:
    """Of each term, in a snapshot.

    Args:
        user: as the snapshot has it.
        layout: if there is a cache, at the snapshot's revision.
        cache: by user number and word.
    """
    words = [words_of(user.number, [term]) for term in terms]
    if cache is None:
        return _read(driver, scope, words, layout)
    found: dict[str, PostingAt] = {}
    kept = {word: cache.get((user.number, word), KeptPosting) for word in words}
    for word, entry in kept.items():
        known = entry.newest
        if known is not None and known.stands_in(layout, user.reset_revision):
            found[word] = known
    oldest = min((known.revision for known in found.values()), default=layout.revision)
    if oldest < layout.revision:
        found = _brought_forward(driver, scope, found, oldest, layout)
    missing = [word for word in words if word not in found]
    if missing:
        for word, posting in zip(missing, _read(driver, scope, missing, layout), strict=True):
            found[word] = PostingAt.of(layout, posting)
    for word, entry in kept.items():
        entry.put(found[word])
        cache.settle((user.number, word), entry)
    return [found[word].posting for word in words]


def _read(driver: Driver, scope: Scope, words: Sequence[str], layout: Layout) -> list[Posting]:
    rows = statements.POSTINGS.each(driver, **owner(scope), terms=words)
    places = (layout.places(numbers(row[0])) for row in rows)
    return [Posting.of(found[found >= 0]) for found in places]


def _brought_forward(
    driver: Driver, scope: Scope, known: dict[str, PostingAt], since: int, layout: Layout
) -> dict[str, PostingAt]:
    """Postings with what changed since the oldest of them; without those that are better read anew."""
    rows = statements.CHANGED_WORDS.rows(driver, **owner(scope), since=since, most=MOST_CHANGED + 1)
    if len(rows) > MOST_CHANGED:
        return {word: at for word, at in known.items() if at.revision == layout.revision}
    places = layout.places(np.array([seq for seq, _ in rows], np.int64))
    changed = ChangedWords(places, [(listed or "").split() for _, listed in rows])
    return {word: PostingAt.of(layout, _with_changes(at.posting, changed, word)) for word, at in known.items()}
