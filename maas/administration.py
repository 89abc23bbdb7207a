"""What an operator asks of a brain: keys, re-embedding, readiness."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from maas.embedders.protocol import Embedder
from maas.errors import NotReadyError
from maas.idempotency import Repeatable
from maas.keys import KeyRing
from maas.records import ApiKey, KeyList, NewApiKey, ReindexStatus
from maas.reindexing import Reindexer
from maas.requests import KeyRequest, parse
from maas.settings import Settings
from maas.storage.protocol import MemoryStore


class Administration:
    """The part of PersonalMemoryBrain that no user of memories calls."""

    settings: Settings
    tenant: str
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

    def authenticate(self, key: str) -> ApiKey:
        """The key's tenant, scopes and user. Raises AuthenticationError."""
        return self._keys.authenticate(key)

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

    def ready(self) -> None:
        """Raises NotReadyError unless a text can be encoded and the database takes writes."""
        self._store.check_writable()
        if self._embedder.encode(["ready"]).shape != (1, self._embedder.dim):
            raise NotReadyError("the embedder gives vectors of another shape than it declares", retry_after=1)

    @property
    def _keys(self) -> KeyRing:
        return KeyRing(self._store, self.tenant, self._clock)

    @property
    def _reindexer(self) -> Reindexer:
        return Reindexer(self._store, self._embedder, self._clock)
