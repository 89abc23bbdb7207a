"""The schema as SQLAlchemy sees it. ``migrations/`` creates it; the database is the only truth.

Tenant and user come first in every key. Every index that is not in the database (FAISS, turn tables) is
rebuilt from these tables, and told to catch up by the user's ``revision``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, MetaData, Table, Text, TypeDecorator
from sqlalchemy.engine import Dialect

SCHEMA_REVISION = "0005"
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
        return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        if value == "{}":  # as most memories have it
            return {}
        return None if value is None else json.loads(value)


metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("reset_revision", Integer, nullable=False),
    Column("memories", Integer, nullable=False),
    Column("terms", Integer, nullable=False),
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
    Column("seq", Integer, primary_key=True),
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
    Column("version", Integer, nullable=False),
    Column("document_id", Text),
    Column("start", Integer),
    Column("end", Integer),
    Column("revision", Integer, nullable=False),
    Column("term_count", Integer, nullable=False),
)

spaces = Table(
    "spaces",
    metadata,
    Column("space", Integer, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("dim", Integer, nullable=False),
)

vectors = Table(
    "vectors",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("space", Integer, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("vector", LargeBinary, nullable=False),
)

user_spaces = Table(
    "user_spaces",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("space", Integer, primary_key=True),
    Column("vectors", Integer, nullable=False),
)

memory_versions = Table(
    "memory_versions",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("memory_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
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
    Column("characters", Integer, nullable=False),
    Column("passages", Integer, nullable=False),
    Column("read_passages", Integer, nullable=False),
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
    Column("run", Integer, primary_key=True),
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
    Column("number", Integer, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("user_id", Text),
    Column("at", UtcMicroseconds, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("subject", Text),
    Column("count", Integer, nullable=False),
)

backups = Table(
    "backups",
    metadata,
    Column("number", Integer, primary_key=True),
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
