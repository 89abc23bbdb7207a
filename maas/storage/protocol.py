"""The seam between the memory and a database. tests/contract holds what SQLite and PostgreSQL promise by it.

A store hands out transactions. A reading one sees a single snapshot; a writing one is all or nothing, and no two
that read or change the same user run at once. Every method takes the tenant, and the user where there is one: no
query runs without.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maas.embedders.protocol import Vectors
from maas.recall.lexical import Layout
from maas.records import ApiKey, AuditEntry, BackupRecord, HistoryEntry, Memory, Scope, UserSummary
from maas.storage.values import (
    AuditQuery,
    Coverage,
    DocumentRow,
    Earlier,
    Exported,
    Hits,
    LexicalHits,
    NewMemory,
    ReindexRun,
    Remembered,
    Replacement,
    Scores,
    Seqs,
    Session,
    SessionTurn,
    Span,
    Traits,
    Unembedded,
    Where,
)


class ReadTransaction(Protocol):
    """Queries on one snapshot."""

    def owners(self, tenant: str, memory_id: str) -> list[str]:
        """Users whose tag the id carries, the one who stored it first; one of them may hold the memory."""

    def get(self, scope: Scope, memory_id: str) -> Memory | None: ...

    def existing_ids(self, scope: Scope, ids: Collection[str]) -> set[str]: ...

    def by_hash(self, scope: Scope, hashes: Collection[bytes], now: datetime) -> dict[bytes, Memory]:
        """Memories with these text hashes that are neither expired nor superseded."""

    def by_key(self, scope: Scope, keys: Collection[str]) -> dict[str, Memory]: ...

    def by_seq(self, scope: Scope, seqs: Collection[int]) -> dict[int, Memory]: ...

    def ids(self, scope: Scope, seqs: Collection[int]) -> dict[int, str]:
        """Ids by row, of the rows that are there."""

    def texts(self, scope: Scope, seqs: Collection[int]) -> dict[int, str]:
        """Texts by row, of the rows that are there."""

    def page(
        self, scope: Scope, where: Where, limit: int, after: tuple[datetime, int] | None = None
    ) -> list[tuple[int, Memory]]:
        """Newest first by (created_at, seq), the rows older than ``after``."""

    def traits(self, scope: Scope, seqs: Seqs) -> Traits: ...

    def any_importance(self, scope: Scope) -> bool:
        """Whether some memory of the user has an importance."""

    def latest(self, scope: Scope, now: datetime) -> datetime | None:
        """When the user's newest memory was created, those dated after ``now`` left out."""

    def earlier_versions(self, scope: Scope, where: Where) -> dict[int, Earlier]:
        """By row, newest first, the versions that were valid at ``where.as_of`` and have been changed since."""

    def history(self, scope: Scope, memory_id: str) -> list[HistoryEntry]: ...

    def revisions(self, scopes: Collection[Scope]) -> dict[Scope, int]:
        """Each grows with every change to the user's memories, an erasure included; 0 for a user who is not there."""

    def coverage(self, scope: Scope, fingerprint: str) -> Coverage: ...

    def dense(self, scope: Scope, fingerprint: str, queries: Vectors, k: int, where: Where) -> list[Hits]:
        """For each of the (q, dim) unit vectors the k nearest memories by cosine, exactly."""

    def similarities(self, scope: Scope, fingerprint: str, query: NDArray[np.float32], seqs: Seqs) -> Scores:
        """Cosine of (dim,) ``query`` with each row (n,); NaN where the row has no vector in this space."""

    def rows(self, scope: Scope, fingerprint: str, seqs: Seqs) -> tuple[NDArray[np.bool_], Vectors]:
        """Which of the rows (n,) have a vector in this space, and those vectors, (m, dim)."""

    def lexical(self, scope: Scope, terms: Sequence[str], k: int, where: Where) -> LexicalHits:
        """The k best by BM25F over this user's memories alone: other users touch neither scores nor speed."""

    def layout(self, scope: Scope) -> Layout:
        """How the user's memories lie beside each other. Rows that this snapshot lacks may be among them."""

    def sessions(self, scope: Scope) -> list[str]:
        """Every session of the user; a document is none."""

    def session_turns(
        self, scope: Scope, session_id: str, fingerprint: str, around: Span | None = None
    ) -> list[SessionTurn]:
        """A session's memories by time, then by order of storing; passages of a document are none.

        With ``around`` those from the turn before it that begins a window to the one after it that does, which is left
        out; see maas/recall/windows.py.
        """

    def created_between(self, scope: Scope, ids: Collection[str]) -> Span | None:
        """The earliest and the latest ``created_at`` of these memories; None if none is there."""

    def export(self, scope: Scope, after: str = "", limit: int = 500) -> list[Exported]:
        """Memories by id, those beyond ``after``."""

    def document(self, scope: Scope, document_id: str) -> DocumentRow | None: ...

    def document_by_hash(self, scope: Scope, text_hash: bytes) -> DocumentRow | None: ...

    def documents(self, scope: Scope, limit: int, after: str = "", now: datetime | None = None) -> list[DocumentRow]:
        """By id, those beyond ``after``."""

    def unread_documents(self) -> list[tuple[str, DocumentRow]]:
        """Of every tenant and user, with the tenant: for the server that reads them on."""

    def expired_documents(self, scope: Scope, now: datetime) -> list[str]:
        """Ids of the user's documents that have expired, read or not."""

    def document_source(self, scope: Scope, document_id: str) -> str | None:
        """The whole text, until all of it is read."""

    def encoder_state(self, scope: Scope, document_id: str) -> bytes | None: ...

    def passages(self, scope: Scope, document_id: str) -> list[tuple[int, Memory]]:
        """Row and memory of each passage, in the order of the text."""

    def passage_vectors(
        self, scope: Scope, document_id: str, fingerprint: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors (n, dim) of a document's passages in a space, and the passages' lengths (n,) in characters."""

    def texts_at(
        self, scope: Scope, places: Collection[tuple[str, int]], *, ending: bool
    ) -> dict[tuple[str, int], str]:
        """Texts of the passages that begin, or end, at (document, character)."""

    def remembered(self, tenant: str, key: str, since: datetime) -> Remembered | None: ...

    def api_key(self, key_id: str) -> tuple[ApiKey, bytes] | None:
        """A key with the SHA-256 of its secret. The only look-up without a tenant: it is what finds the tenant."""

    def api_keys(self, tenant: str) -> list[ApiKey]: ...

    def any_api_key(self) -> bool: ...

    def session(self, token_sha256: bytes) -> Session | None:
        """The session a token opens. Without a tenant: it is what finds the key, and that the tenant."""

    def user_list(self, tenant: str, limit: int, after: str = "", matching: str = "") -> list[UserSummary]:
        """Users of a tenant by id, those beyond ``after``; ``matching``: only ids that contain it, in any case."""

    def users(self) -> Iterator[Scope]:
        """Every user of every tenant, for re-embedding."""

    def unembedded(self, scope: Scope, fingerprint: str, limit: int) -> list[Unembedded]:
        """Some of the memories without a vector in this space."""

    def progress(self, fingerprint: str) -> Coverage:
        """Over all users: vectors in this space, and memories."""

    def last_reindex(self) -> ReindexRun | None: ...

    def audit(self, tenant: str, query: AuditQuery) -> list[AuditEntry]:
        """Newest first; an erased user's entries are still found under their id."""

    def expired(self, scope: Scope, now: datetime) -> list[Memory]:
        """The user's memories that have expired."""

    def backups(self) -> list[BackupRecord]:
        """Of the whole database, the oldest first."""


class WriteTransaction(ReadTransaction, Protocol):
    """Changes, committed together when the block ends well."""

    def hold(self, scopes: Collection[Scope]) -> None:
        """Wait for other writers of these users. A transaction that goes on to several names them all first."""

    def tag(self, scope: Scope) -> str:
        """What the ids of the user's memories start with; makes the user if there is none."""

    def insert(self, fingerprint: str, rows: Mapping[Scope, Sequence[NewMemory]]) -> dict[Scope, list[int]]:
        """Adds each user's rows; returns their numbers."""

    def replace(self, scope: Scope, fingerprint: str, row: Replacement) -> None: ...

    def supersede(self, scope: Scope, old_id: str, new_id: str, said_at: datetime, now: datetime) -> None:
        """``said_at``: when the new one was; from then on the old one is the past."""

    def delete(self, scope: Scope, memory_id: str) -> bool:
        """Remove the memory with its vectors, terms and versions.

        What it superseded is current again, or superseded by what superseded the removed one.
        """

    def revive(
        self, scope: Scope, gone: str, superseded_by: str | None = None, superseded_at: datetime | None = None
    ) -> None:
        """What ``gone`` has superseded is current again, or superseded by what superseded that."""

    def add_document(self, scope: Scope, row: DocumentRow, text: str | None) -> None:
        """``text``: what is still to be read."""

    def change_document(self, scope: Scope, document_id: str, **values: Any) -> None:
        """Set columns of a document, ``encoder_state`` among them."""

    def drop_source(self, scope: Scope, document_id: str) -> None: ...

    def keep_document(self, scope: Scope, document_id: str, until: datetime | None) -> None:
        """The document and its passages expire then; None: never."""

    def delete_document(self, scope: Scope, document_id: str) -> None:
        """Remove the document, what waits to be read of it, and its passages with vectors, terms and versions."""

    def erase(self, scope: Scope) -> tuple[dict[str, int], dict[str, int]]:
        """Remove everything of the user. Returns rows by table, before and after.

        What the audit log says of them stays, under a digest of their id.
        """

    def remember(
        self, tenant: str, key: str, users: Collection[str], remembered: Remembered, at: datetime, prune: datetime
    ) -> None:
        """Keep an answer; answers older than ``prune`` go."""

    def add_api_key(self, key: ApiKey, secret_sha256: bytes) -> None: ...

    def revoke_api_key(self, tenant: str, key_id: str, at: datetime) -> ApiKey | None: ...

    def expire_api_key(self, tenant: str, key_id: str, at: datetime) -> None: ...

    def add_session(self, session: Session) -> None: ...

    def drop_session(self, token_sha256: bytes) -> None: ...

    def drop_sessions(self, ended: datetime) -> int:
        """Remove the sessions of all tenants that had ended by then; returns how many."""

    def add_vectors(
        self, scope: Scope, fingerprint: str, rows: Sequence[tuple[Unembedded, NDArray[np.float32]]]
    ) -> int:
        """Add vectors of rows whose version is still the one that was read; returns how many."""

    def place_vectors(self, scope: Scope, fingerprint: str, rows: Sequence[tuple[int, NDArray[np.floating]]]) -> None:
        """Give rows that exist a vector in this space, in place of any they have there."""

    def drop_vectors(self, scope: Scope, fingerprint: str, seqs: Sequence[int]) -> None:
        """Remove these rows' vectors from this space alone."""

    def drop_other_spaces(self, scope: Scope, fingerprint: str, *beside: str) -> None:
        """Remove the user's vectors of all spaces but these, if the first covers every memory."""

    def start_reindex(self, fingerprint: str, at: datetime) -> int: ...

    def beat_reindex(self, run: int, state: str, at: datetime, error: str | None = None) -> None: ...

    def add_audit(self, tenant: str, entry: AuditEntry) -> None: ...

    def drop_audit(self, older: datetime) -> int:
        """Remove the audit entries of all tenants before ``older``; returns how many."""

    def add_backup(self, path: str, sha256: str, made_at: datetime) -> None: ...

    def claim(self, task: str, at: datetime, unless_since: datetime) -> bool:
        """Note that ``task`` is done at ``at``; False if it was done by anyone after ``unless_since``."""


class MemoryStore(Protocol):
    """A database of memories. Safe to share between threads.

    Attributes:
        found_revision: of the schema, when the database was opened and then migrated; None if it was empty.
    """

    found_revision: str | None

    def read(self) -> AbstractContextManager[ReadTransaction]: ...

    def write(self) -> AbstractContextManager[WriteTransaction]: ...

    def check_writable(self) -> None:
        """Raise NotReadyError unless a write would be accepted now."""

    def wipe(self) -> bool:
        """Overwrite on disk what deletions left there. False if a reader still holds some of it."""

    def close(self) -> None: ...
