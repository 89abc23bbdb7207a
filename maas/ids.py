"""Ids of memories: ``<10 characters of the user's tag><ULID>``, opaque to callers."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Sequence
from typing import TypeVar

from maas.errors import ConflictError, NotFoundError

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
TAG_LENGTH = 10
_RANDOM_BITS = 80
Found = TypeVar("Found")


class UlidFactory:
    """Makes ULIDs that sort by time, also within one millisecond. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def __call__(self) -> str:
        """26 characters of Crockford's base32: 48 bits of milliseconds since 1970, then 80 random bits."""
        with self._lock:
            fresh = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
            same_millisecond = fresh >> _RANDOM_BITS <= self._last >> _RANDOM_BITS
            self._last = self._last + 1 if same_millisecond else fresh
            return base32(self._last, 26)


def new_tag() -> str:
    """50 random bits that prefix the ids of one user's memories."""
    return base32(secrets.randbits(5 * TAG_LENGTH), TAG_LENGTH)


def sole(found: Sequence[Found], kind: str, sought: object) -> Found:
    """The one that an id leads to.

    Raises:
        NotFoundError: none.
        ConflictError: several users of the tenant hold the id, as after an import to another user.
    """
    if not found:
        raise NotFoundError(f"there is no {kind} {str(sought)[:100]!a} here")
    if len(found) > 1:
        raise ConflictError(f"{len(found)} users hold the {kind} {str(sought)[:100]!a}; name one by user_id")
    return found[0]


def tag_of(memory_id: str) -> str:
    """The tag an id starts with; it leads to the memory's owner inside a tenant."""
    return memory_id[:TAG_LENGTH]


def erased_id(tenant: str, user_id: str) -> str:
    """What stands in the audit log for a user who was erased: whoever knows the id still finds the entries."""
    return "erased:" + hashlib.sha256(f"{tenant}\x00{user_id}".encode()).hexdigest()[:32]


def base32(number: int, length: int) -> str:
    return "".join([CROCKFORD[number >> shift & 31] for shift in range(5 * (length - 1), -1, -5)])
