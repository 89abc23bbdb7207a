"""API keys: ``maas_<id>_<secret>``. The database holds the SHA-256 of the secret, which has 160 random bits."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from maas.auditing import record
from maas.errors import AuthenticationError, ConfigError, ConflictError, NotFoundError
from maas.idempotency import Repeatable
from maas.ids import base32
from maas.records import ApiKey, KeyList, NewApiKey
from maas.requests import KeyRequest
from maas.storage.protocol import MemoryStore, WriteTransaction

ID_LENGTH, SECRET_LENGTH = 12, 32
_KEY = re.compile(r"maas_([A-Za-z0-9-]{1,64})_([A-Za-z0-9_-]{16,256})")


class KeyRing:
    """Makes, lists, revokes and checks the keys of one tenant."""

    def __init__(self, store: MemoryStore, tenant: str, actor: str, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._tenant = tenant
        self._actor = actor
        self._clock = clock

    def create(self, request: KeyRequest, repeatable: Repeatable) -> NewApiKey:
        """The answer holds the whole key, this once.

        Raises:
            ConflictError: the request was answered before; its key is named, since the secret cannot be told again.
        """
        new = self._new(*_random_parts(), request)
        with self._store.write() as transaction:
            _refuse_repetition(repeatable.replay(transaction, new.created_at))
            self._add(transaction, new, "create key")
            repeatable.remember(transaction, (), {"id": new.id}, new.created_at)
        return new

    def list(self) -> KeyList:
        with self._store.read() as transaction:
            return KeyList(results=transaction.api_keys(self._tenant))

    def revoke(self, key_id: str) -> ApiKey:
        """Revoking twice keeps the first time.

        Raises:
            NotFoundError: no such key in this tenant.
        """
        now = self._clock()
        with self._store.write() as transaction:
            key = transaction.revoke_api_key(self._tenant, key_id, now)
            if key is not None:
                self._audit(transaction, "revoke key", key, now)
        if key is None:
            raise NotFoundError(f"there is no key {key_id!r}; `maas keys list` shows what there is")
        return key

    def rotate(self, key_id: str, grace: timedelta, repeatable: Repeatable) -> NewApiKey:
        """A new key that may do what the old one may; the old one ends after ``grace``, or when it would anyway.

        Raises:
            NotFoundError: no such key in this tenant, or one that works no more.
            ConflictError: the request was answered before; the key it made is named.
        """
        now = self._clock()
        with self._store.write() as transaction:
            _refuse_repetition(repeatable.replay(transaction, now))
            old = next((key for key in transaction.api_keys(self._tenant) if key.id == key_id), None)
            if old is None or old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
                raise NotFoundError(f"there is no key {key_id!r} that works; `maas keys list` shows what there is")
            request = KeyRequest(name=old.name, scopes=old.scopes, user_id=old.user_id, expires_at=old.expires_at)
            new = self._new(*_random_parts(), request)
            self._add(transaction, new, "create key")
            if grace:
                ends = now + grace if old.expires_at is None else min(old.expires_at, now + grace)
                transaction.expire_api_key(self._tenant, key_id, ends)
            else:
                transaction.revoke_api_key(self._tenant, key_id, now)
            self._audit(transaction, "rotate key", old, now)
            repeatable.remember(transaction, (), {"id": new.id}, now)
        return new

    def authenticate(self, key: str) -> ApiKey:
        """Read from the database at every call, so that a revocation holds at once.

        Raises:
            AuthenticationError: malformed, unknown, revoked or expired; the message tells an outsider no more.
        """
        match = _KEY.fullmatch(key)
        if match is None:
            raise AuthenticationError("the API key is malformed; expected maas_<id>_<secret>")
        with self._store.read() as transaction:
            found = transaction.api_key(match.group(1))
        expected = found[1] if found else bytes(32)
        if not hmac.compare_digest(_sha256(key), expected) or found is None:
            raise AuthenticationError("the API key is not known here; create one with `maas keys create`")
        return still_works(found[0], self._clock())

    def bootstrap(self, given: str | None) -> NewApiKey | None:
        """The first key of a database, with every scope: ``given``, else a new one. None if there are keys.

        Raises:
            ConfigError: ``given`` is no key.
        """
        match = _KEY.fullmatch(given) if given is not None else None
        if given is not None and match is None:
            raise ConfigError(
                "bootstrap_key is malformed; expected maas_<id>_<secret> with at least 16 characters of secret"
            )
        key_id, secret = match.groups() if match else _random_parts()
        new = self._new(key_id, secret, KeyRequest(name="bootstrap", scopes=["read", "write", "admin"]))
        with self._store.write() as transaction:
            if transaction.any_api_key():
                return None
            self._add(transaction, new, "create key")
        return new

    def _add(self, transaction: WriteTransaction, new: NewApiKey, action: str) -> None:
        transaction.add_api_key(_without_secret(new), _sha256(new.key))
        self._audit(transaction, action, new, new.created_at)

    def _audit(self, transaction: WriteTransaction, action: str, key: ApiKey, at: datetime) -> None:
        record(transaction, self._tenant, self._actor, action, at, user_id=key.user_id, subject=key.id)

    def _new(self, key_id: str, secret: str, request: KeyRequest) -> NewApiKey:
        return NewApiKey(
            id=key_id,
            tenant=self._tenant,
            name=request.name,
            scopes=list(dict.fromkeys(request.scopes)),
            user_id=request.user_id,
            created_at=self._clock(),
            expires_at=request.expires_at,
            key=f"maas_{key_id}_{secret}",
        )


def still_works(key: ApiKey, now: datetime) -> ApiKey:
    """The key itself. Raises AuthenticationError for one that was revoked or has expired."""
    if key.revoked_at is not None:
        raise AuthenticationError("the API key was revoked; create another with `maas keys create`")
    if key.expires_at is not None and key.expires_at <= now:
        raise AuthenticationError("the API key has expired; create another with `maas keys create`")
    return key


def _random_parts() -> tuple[str, str]:
    """An id, and a secret of 160 random bits."""
    key_id = base32(secrets.randbits(5 * ID_LENGTH), ID_LENGTH)
    return key_id, base32(secrets.randbits(5 * SECRET_LENGTH), SECRET_LENGTH)


def _refuse_repetition(made: dict[str, str] | None) -> None:
    if made is not None:
        raise ConflictError(
            f"this Idempotency-Key already made the key {made['id']!r}, whose secret was shown that once; "
            "revoke it and make another with a new Idempotency-Key"
        )


def _without_secret(key: NewApiKey) -> ApiKey:
    return ApiKey(**key.model_dump(exclude={"key"}))


def _sha256(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
