"""Sessions of the dashboard: a random token in a cookie, its SHA-256 in the database, and the key it stands for."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from maas.auditing import record
from maas.errors import AuthenticationError
from maas.keys import still_works
from maas.records import ApiKey, NewSession
from maas.storage.protocol import MemoryStore
from maas.storage.values import Session

TOKEN_BYTES = 32


class Sessions:
    """Opens, finds and closes sessions; the key is looked up anew each time, so that a revocation holds at once."""

    def __init__(self, store: MemoryStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def open(self, key: ApiKey, lasts: timedelta) -> NewSession:
        """For a key that was authenticated; ends after ``lasts``, or with the key."""
        now, token = self._clock(), secrets.token_urlsafe(TOKEN_BYTES)
        ends = now + lasts if key.expires_at is None else min(now + lasts, key.expires_at)
        with self._store.write() as transaction:
            transaction.add_session(Session(_sha256(token), key.tenant, key.id, now, ends))
            record(transaction, key.tenant, key.id, "sign in", now, user_id=key.user_id, subject=key.id)
        return NewSession(token=token, key=key, expires_at=ends)

    def key(self, token: str) -> ApiKey:
        """Raises AuthenticationError: closed, expired, or of a key that works no more."""
        now = self._clock()
        with self._store.read() as transaction:
            session = transaction.session(_sha256(token))
            found = None if session is None else transaction.api_key(session.key_id)
        if session is None or found is None or session.expires_at <= now:
            raise AuthenticationError("the session has ended; sign in again")
        return still_works(found[0], now)

    def close(self, token: str) -> None:
        digest, now = _sha256(token), self._clock()
        with self._store.write() as transaction:
            session = transaction.session(digest)
            if session is not None:
                transaction.drop_session(digest)
                record(transaction, session.tenant_id, session.key_id, "sign out", now, subject=session.key_id)


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
