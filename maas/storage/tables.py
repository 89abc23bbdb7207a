"""The schema as SQLAlchemy sees it. ``migrations/`` creates it; the database is the only truth.

Tenant and user come first in every key. Every index that is not in the database (FAISS, turn tables) is
rebuilt from these tables, and told to catch up by the user's ``revision``.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Column, Float, LargeBinary, MetaData, Table, Text, TypeDecorator
from sqlalchemy.engine import Dialect

SCHEMA_REVISION = "0006"
MAX_POSITIONS = 255  # a tsvector counts no further
_TSVECTOR_BYTES = (1 << 20) - 1
_SURELY_FIT = 3_000  # terms of at most 64 characters
_OID_OF_REAL = 700
_REAL = np.dtype([("size", ">i4"), ("value", ">f4")])
# json.dumps would make one anew for each value.
_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(value: datetime) -> int:
    return (value - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


class UtcMicroseconds(TypeDecorator[datetime]):
    """An aware datetime as microseconds since 1970 in UTC: orders correctly over the years 1 to 9999."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_microseconds(value)


class PlainJson(TypeDecorator[Any]):
    """A JSON value as text, non-ASCII letters kept as they are."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if value == {}:  # as most memories have it
            return "{}"
        return None if value is None else _encode_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        if value == "{}":
            return {}
        return None if value is None else json.loads(value)


class PackedVector(TypeDecorator[bytes]):
    """Numbers of two bytes, little-endian in the program and in SQLite; PostgreSQL sends and receives a ``halfvec``."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        if value is None or dialect.name != "postgresql":
            return value
        return struct.pack(">HH", len(value) // 2, 0) + np.frombuffer(value, "<f2").byteswap().tobytes()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        if value is None or dialect.name != "postgresql":
            return value
        return np.frombuffer(value, "<f2", offset=4).byteswap().tobytes()


class Lexemes(bytes):
    """A tsvector in binary."""


class Reals(bytes):
    """An array of ``real`` in binary."""

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Reals:
        """From (n,)."""
        items = np.empty(len(values), _REAL)
        items["size"], items["value"] = 4, values
        return cls(struct.pack(">iiIii", 1, 0, _OID_OF_REAL, len(values), 1) + items.tobytes())


class WordVector(TypeDecorator[tuple[int, Sequence[str]]]):
    """A user's number and the terms of a text as PostgreSQL receives a ``tsvector``: (number, terms).

    Each term stands behind the number, so that no two users share one, and has a position for each occurrence. A
    tsvector holds a megabyte: of a text with more different words than that, the last ones are left out.
    """

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: tuple[int, Sequence[str]] | None, dialect: Dialect) -> bytes | None:
        if value is None:
            return None
        number, terms = value
        counted = Counter(terms)
        front = f"{number}_"
        if len(terms) > _SURELY_FIT:
            counted = fitting(counted, front)
        once = (_ONCE + front).join([term for term, count in counted.items() if count == 1])
        lexemes = [f"{front}{term}\0".encode() + _positions(count) for term, count in counted.items() if count > 1]
        if once:
            lexemes.append((front + once + _ONCE).encode())
        return Lexemes(struct.pack(">i", len(counted)) + b"".join(lexemes))


def fitting(counted: Counter[str], front: str = "") -> Counter[str]:
    """The first terms that a tsvector has room for: PostgreSQL counts lexemes, aligned to two bytes, and positions."""
    left, fitting = _TSVECTOR_BYTES, Counter[str]()
    for term, count in counted.items():
        left -= len((front + term).encode()) + 1 + 2 + 2 * min(count, MAX_POSITIONS)
        if left < 0:
            break
        fitting[term] = count
    return fitting


@lru_cache(maxsize=MAX_POSITIONS)
def _positions(count: int) -> bytes:
    shown = min(count, MAX_POSITIONS)
    return struct.pack(f">H{shown}H", shown, *range(1, shown + 1))


_ONCE = "\0" + _positions(1).decode("ascii")  # after most terms of a text: joined as text, all are encoded at once

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("number", BigInteger, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("reset_revision", BigInteger, nullable=False),
    Column("memories", BigInteger, nullable=False),
    Column("terms", BigInteger, nullable=False),
)

user_tags = Table(
    "user_tags",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
)

memories = Table(
    "memories",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("text_hash", LargeBinary, nullable=False),
    Column("role", Text),
    Column("name", Text),
    Column("agent_id", Text),
    Column("session_id", Text),
    Column("metadata", PlainJson, nullable=False),
    Column("importance", Float),
    Column("key", Text),
    Column("created_at", UtcMicroseconds, nullable=False),
    Column("updated_at", UtcMicroseconds, nullable=False),
    Column("stored_at", UtcMicroseconds, nullable=False),
    Column("expires_at", UtcMicroseconds),
    Column("superseded_by", Text),
    Column("superseded_at", UtcMicroseconds),
    Column("version", BigInteger, nullable=False),
    Column("document_id", Text),
    Column("start", BigInteger),
    Column("end", BigInteger),
    Column("revision", BigInteger, nullable=False),
    Column("term_count", BigInteger, nullable=False),
)

spaces = Table(
    "spaces",
    metadata,
    Column("space", BigInteger, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("dim", BigInteger, nullable=False),
)

vectors = Table(
    "vectors",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("space", BigInteger, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("vector", LargeBinary, nullable=False),
)

user_spaces = Table(
    "user_spaces",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("space", BigInteger, primary_key=True),
    Column("vectors", BigInteger, nullable=False),
)

memory_versions = Table(
    "memory_versions",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("memory_id", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("event", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("metadata", PlainJson, nullable=False),
    Column("importance", Float),
    Column("expires_at", UtcMicroseconds),
    Column("at", UtcMicroseconds, nullable=False),
    Column("valid_from", UtcMicroseconds, nullable=False),
    Column("actor", Text, nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("title", Text),
    Column("metadata", PlainJson, nullable=False),
    Column("agent_id", Text),
    Column("importance", Float),
    Column("created_at", UtcMicroseconds, nullable=False),
    Column("stored_at", UtcMicroseconds, nullable=False),
    Column("expires_at", UtcMicroseconds),
    Column("text_hash", LargeBinary, nullable=False),
    Column("characters", BigInteger, nullable=False),
    Column("passages", BigInteger, nullable=False),
    Column("read_passages", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("error", Text),
    Column("beat_at", UtcMicroseconds, nullable=False),
    Column("runner", Text),
    Column("fingerprint", Text),
    Column("vector", LargeBinary),
    Column("encoder_state", LargeBinary),
)

document_sources = Table(
    "document_sources",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("document_id", Text, primary_key=True),
    Column("text", Text, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("response", PlainJson, nullable=False),
    Column("created_at", UtcMicroseconds, nullable=False),
)

idempotency_users = Table(
    "idempotency_users",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("scopes", PlainJson, nullable=False),
    Column("user_id", Text),
    Column("created_at", UtcMicroseconds, nullable=False),
    Column("expires_at", UtcMicroseconds),
    Column("revoked_at", UtcMicroseconds),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", LargeBinary, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("created_at", UtcMicroseconds, nullable=False),
    Column("expires_at", UtcMicroseconds, nullable=False),
)

reindex_runs = Table(
    "reindex_runs",
    metadata,
    Column("run", BigInteger, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("started_at", UtcMicroseconds, nullable=False),
    Column("beat_at", UtcMicroseconds, nullable=False),
    Column("finished_at", UtcMicroseconds),
    Column("error", Text),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("number", BigInteger, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("user_id", Text),
    Column("at", UtcMicroseconds, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("subject", Text),
    Column("count", BigInteger, nullable=False),
)

backups = Table(
    "backups",
    metadata,
    Column("number", BigInteger, primary_key=True),
    Column("made_at", UtcMicroseconds, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", Text, nullable=False),
)

upkeep = Table(
    "upkeep",
    metadata,
    Column("task", Text, primary_key=True),
    Column("at", UtcMicroseconds, nullable=False),
)

# Where PostgreSQL's rows have more than SQLite's, whose words lie in FTS5 and whose vectors are mere bytes.
_postgres = MetaData()
postgres_memories = memories.to_metadata(_postgres)
postgres_memories.append_column(Column("words", WordVector, nullable=False))
postgres_vectors = Table(
    "vectors",
    _postgres,
    *(Column(c.name, PackedVector if c.name == "vector" else c.type, primary_key=c.primary_key) for c in vectors.c),
)
