"""What an operator asks of a brain: keys, re-embedding, readiness."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from maas.auditing import record
from maas.contexts import Contexts
from maas.embedders.protocol import Embedder
from maas.errors import NotReadyError
from maas.idempotency import Repeatable
from maas.keys import KeyRing
from maas.records import ApiKey, AuditPage, KeyList, NewApiKey, NewSession, PurgeReport, ReindexStatus, Scope
from maas.reindexing import Reindexer
from maas.requests import AuditRequest, KeyRequest, RotateRequest, parse
from maas.sessions import Sessions
from maas.settings import Settings
from maas.storage.protocol import MemoryStore
from maas.storage.values import AuditQuery


class Administration:
    """The part of PersonalMemoryBrain that no user of memories calls."""

    settings: Settings
    tenant: str
    actor: str
    _store: MemoryStore
    _embedder: Embedder
    _clock: Callable[[], datetime]

    def create_key(self, *, idempotency_key: str | None = None, **fields: Any) -> NewApiKey:
        """Make a key of this tenant. ``fields`` are those of :class:`KeyRequest`.

        Raises:
            InvalidInputError: names every field at fault.
            ConflictError: the request was answered before. Its key exists, but its secret was kept nowhere.
        """
        request = parse(KeyRequest, fields)
        return self._keys.create(request, Repeatable(self.tenant, idempotency_key, "create key", [request]))

    def list_keys(self) -> KeyList:
        return self._keys.list()

    def revoke_key(self, key_id: str) -> ApiKey:
        """Raises NotFoundError for a key that is not this tenant's."""
        return self._keys.revoke(key_id)

    def rotate_key(self, key_id: str, *, idempotency_key: str | None = None, **fields: Any) -> NewApiKey:
        """A new key in the place of an old one. ``fields`` are those of :class:`RotateRequest`.

        Raises:
            NotFoundError: a key that is not this tenant's, or works no more.
            ConflictError: as for :meth:`create_key`.
        """
        request = parse(RotateRequest, fields)
        repeatable = Repeatable(self.tenant, idempotency_key, f"rotate key {key_id}", [request])
        return self._keys.rotate(key_id, timedelta(seconds=request.grace_seconds), repeatable)

    def authenticate(self, key: str) -> ApiKey:
        """The key's tenant, scopes and user. Raises AuthenticationError."""
        return self._keys.authenticate(key)

    def open_session(self, key: str) -> NewSession:
        """Sign in to the dashboard. Raises AuthenticationError."""
        lasts = timedelta(minutes=self.settings.server.ui_session_minutes)
        return self._sessions.open(self.authenticate(key), lasts)

    def session_key(self, token: str) -> ApiKey:
        """Who is signed in with a token. Raises AuthenticationError once the session or its key has ended."""
        return self._sessions.key(token)

    def close_session(self, token: str) -> None:
        """Sign out; a session that is not there is closed already."""
        self._sessions.close(token)

    def ensure_bootstrap_key(self) -> NewApiKey | None:
        """The first admin key of a database without keys: ``settings.bootstrap_key``, else a new one."""
        return self._keys.bootstrap(self.settings.bootstrap_key)

    def reindex(self, *, on_progress: Callable[[ReindexStatus], None] | None = None) -> ReindexStatus:
        """Re-embed what has no vector of this embedder; blocks. Recall and store go on meanwhile, and an
        interrupted run is resumed by the next.

        Raises:
            ConflictError: a run is going on.
        """
        return self._reindexer.run(on_progress)

    def reindex_status(self) -> ReindexStatus:
        return self._reindexer.status()

    def reindex_interrupted(self) -> bool:
        """Whether a run to this embedder was cut off, by the death of its process too, and nobody goes on with it."""
        return self._reindexer.interrupted()

    def audit(self, **fields: Any) -> AuditPage:
        """Who did, or was refused, what in this tenant, newest first. ``fields`` are those of :class:`AuditRequest`."""
        request = parse(AuditRequest, fields)
        asked = request.model_dump(exclude={"cursor", "limit"})
        with self._store.read() as transaction:
            found = transaction.audit(self.tenant, AuditQuery(limit=request.limit + 1, before=request.cursor, **asked))
        page, more = found[: request.limit], len(found) > request.limit
        return AuditPage(results=page, next_cursor=page[-1].number if more else None)

    def record_refusal(self, action: str, user_id: str | None = None, subject: str | None = None) -> None:
        """Keep in the audit log that the actor was refused."""
        with self._store.write() as transaction:
            now = self._clock()
            record(
                transaction, self.tenant, self.actor, action, now, user_id=user_id, subject=subject, outcome="refused"
            )

    def purge(self, *, unless_within: timedelta | None = None) -> PurgeReport | None:
        """Remove for good, in every tenant, what has expired, old audit entries, and what deletions left on disk.

        Args:
            unless_within: do nothing, and return None, if any process has purged in this time.
        """
        now = self._clock()
        keep_days = self.settings.audit.keep_days
        with self._store.write() as transaction:
            since = datetime.max.replace(tzinfo=UTC) if unless_within is None else now - unless_within
            if not transaction.claim("purge", now, since):
                return None
            transaction.drop_sessions(now)
            dropped = transaction.drop_audit(now - timedelta(days=keep_days)) if keep_days else 0
            scopes = list(transaction.users())
        expired = sum(self._purge_user(scope, now) for scope in scopes)
        return PurgeReport(expired=expired, audit_entries=dropped, wiped=self._store.wipe())

    def _purge_user(self, scope: Scope, now: datetime) -> int:
        with self._store.read() as reader:
            if not reader.expired(scope, now) and not reader.expired_documents(scope, now):
                return 0
        contexts = Contexts(self._store, self._embedder)
        with self._store.write() as transaction:
            expired = transaction.expired(scope, now)
            for document_id in transaction.expired_documents(scope, now):
                transaction.delete_document(scope, document_id)
            contexts.forget(transaction, scope, expired)
            for memory in expired:
                transaction.delete(scope, memory.id)
            record(transaction, scope.tenant, self.actor, "purge", now, user_id=scope.user_id, count=len(expired))
        for session_id in sorted({memory.session_id for memory in expired if memory.session_id is not None}):
            contexts.settle(scope, session_id)
        return len(expired)

    def ready(self) -> None:
        """Raises NotReadyError unless a text can be encoded and the database takes writes."""
        self._store.check_writable()
        if self._embedder.encode(["ready"]).shape != (1, self._embedder.dim):
            raise NotReadyError("the embedder gives vectors of another shape than it declares", retry_after=1)

    @property
    def _keys(self) -> KeyRing:
        return KeyRing(self._store, self.tenant, self.actor, self._clock)

    @property
    def _sessions(self) -> Sessions:
        return Sessions(self._store, self._clock)

    @property
    def _reindexer(self) -> Reindexer:
        return Reindexer(self._store, self._embedder, self._clock)
