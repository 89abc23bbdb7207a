"""What a store is given and what it gives: where to search, rows to write, what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas.recall.filters import Filter
from maas.recall.lexical import Evidence, Layout
from maas.records import HistoryEntry, Memory

Seqs = NDArray[np.int64]
Scores = NDArray[np.float32]
Span = tuple[datetime, datetime]
"""From a time to a time, both in it."""


@dataclass(frozen=True, slots=True)
class Where:
    """What a query may return. ``now`` decides what has expired; both ends of since/until are included.

    ``as_of`` shows what was said by then and had not been replaced by then.
    """

    now: datetime
    agent_id: str | None = None
    session_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    include_superseded: bool = False
    filters: Filter | None = None
    as_of: datetime | None = None

    @property
    def narrows(self) -> bool:
        """Whether more is asked than to hide what has expired or is superseded."""
        given = (self.agent_id, self.session_id, self.since, self.until, self.filters, self.as_of)
        return any(part is not None for part in given)


@dataclass(frozen=True, slots=True)
class Hits:
    """Rows by descending score: ``seqs`` (n,) row numbers, ``scores`` (n,) float32."""

    seqs: Seqs
    scores: Scores


@dataclass(frozen=True, slots=True)
class LexicalHits(Hits):
    """The best by :attr:`maas.recall.lexical.Shares.combined`, and what the words say of every memory of the user."""

    layout: Layout
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Traits:
    """Of rows (n,) in the order they were asked for: ``created`` in microseconds since 1970, ``importance`` or NaN."""

    created: NDArray[np.int64]
    importance: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of a user's memories have a vector in the space asked about."""

    vectors: int
    memories: int

    @property
    def complete(self) -> bool:
        return self.vectors >= self.memories


@dataclass(frozen=True, slots=True)
class NewMemory:
    """A row to insert. ``vector`` is (dim,) float32; ``terms`` are the analysed words of the indexed text."""

    memory: Memory
    text_hash: bytes
    terms: Sequence[str]
    vector: NDArray[np.float32]
    stored_at: datetime
    history: Sequence[HistoryEntry]


@dataclass(frozen=True, slots=True)
class Replacement:
    """The next state of an existing row; vector and terms are None when the indexed text stays."""

    memory: Memory
    text_hash: bytes
    entry: HistoryEntry
    terms: Sequence[str] | None = None
    vector: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Unembedded:
    """A memory that lacks a vector in some space."""

    seq: int
    memory: Memory


@dataclass(frozen=True)
class DocumentRow:
    """What is kept of a document beside its passages.

    Attributes:
        state: "reading", "done" or "failed".
        beat_at: when its reader last wrote.
        runner: whose turn it is to read; a reader that finds another's name here stops.
        fingerprint: of the embedder that reads it, and of ``vector``, float16 as bytes.
    """

    id: str
    user_id: str
    title: str | None
    metadata: dict[str, Any]
    agent_id: str | None
    importance: float | None
    created_at: datetime
    stored_at: datetime
    expires_at: datetime | None
    text_hash: bytes
    characters: int
    passages: int
    read_passages: int
    state: str
    error: str | None
    beat_at: datetime
    runner: str | None
    fingerprint: str | None
    vector: bytes | None

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))


@dataclass(frozen=True, slots=True)
class SessionTurn:
    """A turn as its session lists it: its length in terms, and whether it has a vector in the space asked about."""

    seq: int
    id: str
    version: int
    terms: int
    embedded: bool


@dataclass(frozen=True, slots=True)
class Earlier:
    """A version that was valid at some time in the past, who said it, and whether it says what the memory says now."""

    entry: HistoryEntry
    name: str | None
    same_text: bool


@dataclass(frozen=True, slots=True)
class Exported:
    """Everything kept of one memory."""

    memory: Memory
    stored_at: datetime
    history: list[HistoryEntry]
    vectors: Mapping[str, NDArray[np.float16]]


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was answered to an Idempotency-Key."""

    request_hash: bytes
    response: Any


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody signed in to the dashboard; it ends with its key, whatever ``expires_at`` says."""

    token_sha256: bytes
    tenant_id: str
    key_id: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ReindexRun:
    fingerprint: str
    state: str
    started_at: datetime
    beat_at: datetime
    finished_at: datetime | None = None
    error: str | None = None
    run: int = field(default=0)


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which audit entries of a tenant: all that are given must hold. ``before``: numbers below it."""

    limit: int
    before: int | None = None
    user_id: str | None = None
    actor: str | None = None
    action: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
