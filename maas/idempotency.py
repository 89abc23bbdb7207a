"""Requests that may be sent twice and must act once: what an Idempotency-Key promises."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from maas.errors import IdempotencyConflictError
from maas.fields import Identifier
from maas.requests import Request, parse
from maas.storage.protocol import ReadTransaction, WriteTransaction
from maas.storage.values import Remembered

LIFETIME = timedelta(hours=24)


class _Key(Request):
    idempotency_key: Identifier


class Repeatable:
    """One request with its key; without a key nothing is remembered.

    Args:
        operation: tells requests apart that have equal bodies.
    """

    def __init__(self, tenant: str, key: str | None, operation: str, requests: Sequence[Request]) -> None:
        self._tenant = tenant
        self._key = key if key is None else parse(_Key, {"idempotency_key": key}).idempotency_key
        self._hash = b"" if key is None else _hash(operation, requests)

    @property
    def keyed(self) -> bool:
        """Whether there is a key, and so an answer to remember."""
        return self._key is not None

    def replay(self, transaction: ReadTransaction, now: datetime) -> Any | None:
        """What was answered before, if it was.

        Raises:
            IdempotencyConflictError: the key came with another request.
        """
        if self._key is None:
            return None
        known = transaction.remembered(self._tenant, self._key, now - LIFETIME)
        if known is None:
            return None
        if known.request_hash != self._hash:
            raise IdempotencyConflictError(
                f"the idempotency key {self._key!r} came with another request before; use a new key for a new request"
            )
        return known.response

    def remember(self, transaction: WriteTransaction, users: Collection[str], answer: Any, now: datetime) -> None:
        if self._key is not None:
            kept = Remembered(self._hash, answer)
            transaction.remember(self._tenant, self._key, users, kept, now, now - LIFETIME)


def _hash(operation: str, requests: Sequence[Request]) -> bytes:
    bodies = [request.model_dump(mode="json", exclude_unset=True) for request in requests]
    return hashlib.sha256(json.dumps([operation, bodies], sort_keys=True).encode()).digest()
