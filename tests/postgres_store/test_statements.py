"""What PostgreSQL is told: never without the tenant, and planned by the user's own index."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import make_url

from maas import PersonalMemoryBrain, Settings
from maas.recall.analysis import document_terms
from maas.records import Scope
from maas.storage import postgres_reader, statements
from maas.storage.opening import open_store
from maas.storage.postgres_engine import register_types
from maas.storage.prepared import Prepared
from maas.storage.tables import Reals
from maas.storage.values import Where
from tests.fakes import ContextualFakeEmbedder
from tests.postgres import Server

# These belong to no tenant.
SHARED = {"spaces", "reindex_runs", "backups", "upkeep", "alembic_version"}
# A key and a session are what finds the tenant; re-embedding, purging and reading on begin with all users.
EXCEPTIONS = (
    r"FROM api_keys WHERE api_keys\.id = ",
    r"FROM api_keys LIMIT",
    r"FROM sessions WHERE sessions\.token_sha256 = ",
    r"DELETE FROM sessions WHERE sessions\.token_sha256 = ",
    r"DELETE FROM sessions WHERE sessions\.expires_at <= ",
    r"DELETE FROM audit_log WHERE audit_log\.at < ",
    r"FROM users ORDER BY users\.number",
    r"FROM documents WHERE documents\.state = ",
    r"^SELECT coalesce\(sum\((users\.memories|user_spaces\.vectors)\)",
    r"^(BEGIN|COMMIT|ROLLBACK|SET |SHOW |SELECT pg_|SELECT count\(pg_advisory|SELECT nextval|select pg_catalog)",
    r"pg_catalog|pg_extension|pg_type|alembic_version",
)


def without_tenant(sql: str) -> bool:
    flat = " ".join(sql.split())
    if any(re.search(known, flat) for known in EXCEPTIONS):
        return False
    named = set(re.findall(r"\b(?:FROM|JOIN|UPDATE|INTO|COPY) (\w+)", flat)) - SHARED
    return bool(named) and "tenant_id" not in flat


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    execute, copy = psycopg.Cursor.execute, psycopg.Cursor.copy

    def listening(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else str(query))
        return execute(self, query, *args, **kwargs)

    def copying(self: Any, statement: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(str(statement))
        return copy(self, statement, *args, **kwargs)

    monkeypatch.setattr(psycopg.Cursor, "execute", listening)
    monkeypatch.setattr(psycopg.Cursor, "copy", copying)
    return seen


def everything(brain: PersonalMemoryBrain) -> None:
    items = [{"text": f"fish {n}", "user_id": user, "importance": 0.5} for n in range(5) for user in ("ana", "bea")]
    brain.store_batch(items, idempotency_key="k")
    turns = [{"role": "user", "content": f"turn {n}"} for n in range(3)]
    brain.store_messages(turns, user_id="ana", session_id="s")
    brain.store("lives in Porto", user_id="ana", key="home")
    stored = brain.store("lives in Lisbon", user_id="ana", key="home").results[0]
    brain.store("new fish", user_id="ana", supersedes=stored.id)
    brain.recall("fish in Lisbon", user_id="ana", filters={"metadata.a": {"icontains": "x"}}, explain=True, rerank=True)
    brain.recall("fish", user_id="ana", as_of=datetime(2026, 1, 1, tzinfo=UTC), mmr=0.5)
    brain.list(user_id="ana", limit=2)
    brain.update(stored.id, text="lives in Faro")
    brain.history(stored.id)
    document = brain.store_document("A short book. " * 200, user_id="ana")
    brain.delete_document(document.id, user_id="ana")
    key = brain.create_key(name="k", scopes=["read"])
    brain.authenticate(key.key)
    brain.rotate_key(key.id)
    brain.list_keys()
    brain.audit(user_id="ana")
    brain.reindex()
    brain.purge()
    lines = list(brain.export_user("ana"))
    brain.delete(stored.id)
    brain.erase_user("ana")
    brain.import_memories(lines)


def test_no_statement_is_without_the_tenant(postgres_settings: Settings, told: list[str]) -> None:
    with PersonalMemoryBrain(postgres_settings, embedder=ContextualFakeEmbedder(dim=16)) as brain:
        everything(brain)
    assert len(set(told)) > 60
    assert sorted({sql for sql in told if without_tenant(sql)}) == []


def test_every_key_begins_with_the_tenant(postgres: Server, postgres_settings: Settings) -> None:
    query = """
        SELECT c.relname, i.relname, pg_get_indexdef(i.oid) FROM pg_index x
        JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND x.indisunique"""
    foreign = "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'"
    with postgres.connect(str(make_url(str(postgres_settings.storage.url)).database)) as connection:
        unique = connection.execute(query).fetchall()
        references = connection.execute(foreign).fetchall()
    assert len(unique) > 15
    assert [row for row in unique if row[0] not in SHARED and "(tenant_id" not in row[2]] == []
    assert [row for row in references if "FOREIGN KEY (tenant_id" not in row[1]] == []


@pytest.fixture
def crowded(postgres: Server) -> Iterator[psycopg.Connection[Any]]:
    """Many users, one of them with more memories than the others; statistics are fresh."""
    name = postgres.migrated()
    settings = postgres.settings(name)
    with PersonalMemoryBrain(settings, embedder=ContextualFakeEmbedder(dim=16)) as brain:
        items = [{"text": f"fish {n} of user {n % 40}", "user_id": f"u{n % 40}"} for n in range(400)]
        items += [{"text": f"boat {n} word{n % 9}", "user_id": "big"} for n in range(600)]
        for start in range(0, len(items), 500):
            brain.store_batch(items[start : start + 500])
    with postgres.connect(name) as connection:
        connection.execute(
            "INSERT INTO vectors SELECT 'default', 'x' || g % 500, 1, g, vector FROM generate_series(10000, 30000) g,"
            " (SELECT vector FROM vectors LIMIT 1) one"
        )
        connection.execute(
            "INSERT INTO users (tenant_id, user_id, tag) SELECT 'default', 'x' || g, g FROM generate_series(1, 5000) g"
        )
        columns = "id, text, text_hash, metadata, created_at, updated_at, stored_at, version, revision, term_count"
        connection.execute(
            f"INSERT INTO memories (tenant_id, user_id, seq, words, {columns}) SELECT 'default', 'x' || g % 500, g,"
            f" array_to_tsvector(ARRAY['7_x' || g]), g || {columns} FROM generate_series(10000, 30000) g,"
            " (SELECT * FROM memories LIMIT 1) one"
        )
        connection.execute("ANALYZE")
        register_types(connection)
        yield connection


def planned(connection: psycopg.Connection[Any], statement: Prepared, **values: Any) -> str:
    compiled = statement.postgresql
    rows = connection.execute("EXPLAIN " + compiled.sql, compiled.bind(values)).fetchall()  # type: ignore[operator]
    return "\n".join(row[0] for row in rows)


def test_a_user_is_searched_by_their_own_index(crowded: psycopg.Connection[Any]) -> None:
    for user in ("u7", "big"):
        searched_by_index(crowded, user)


def searched_by_index(crowded: psycopg.Connection[Any], user: str) -> None:
    own = {"tenant": "default", "user": user}
    query = Reals.of(np.full(16, 0.25))
    asked = {"queries": query, "count": 1, "dim": 16, "k": 10}
    for statement in (postgres_reader.NEAREST_WITHOUT, postgres_reader.SCORES_WITHOUT):
        near = planned(crowded, statement, **own, space=1, seqs=[], **asked)
        assert "vectors_pkey" in near, near
        assert re.search(r"tenant_id = .*user_id = ", near), near
    for statement in (postgres_reader.ALL_VECTORS, postgres_reader.CHANGED_VECTORS):
        read = planned(crowded, statement, **own, space=1, since=10**6)
        assert "Index" in read, read
        assert "Seq Scan" not in read, read
    number = crowded.execute("SELECT number FROM users WHERE user_id = %s", (user,)).fetchone()
    assert number is not None
    words = planned(crowded, statements.POSTINGS, **own, terms=[f"{number[0]}_fish"])
    assert "Seq Scan on memories" not in words, words
    for name in ("BY_ID", "BY_SEQ", "CHANGED_TURNS", "USER"):
        values = {"id": "x", "seqs": [1], "since": 10**6}
        plan = planned(crowded, getattr(statements, name), **own, **values)
        assert "Index" in plan, plan
        assert "Seq Scan on memories" not in plan, plan


@pytest.mark.citus
@pytest.mark.skipif("MAAS_CITUS_URL" not in os.environ, reason="MAAS_CITUS_URL names no Citus coordinator")
def test_citus_distributes_by_tenant() -> None:
    """Not run in CI: needs an empty database with the extensions citus and vector on a coordinator with workers."""
    url = os.environ["MAAS_CITUS_URL"]
    settings = Settings(storage={"url": url})  # type: ignore[arg-type]
    open_store(settings).close()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for table in sorted(SHARED - {"alembic_version"}):
            connection.execute("SELECT create_reference_table(%s)", (table,))
        connection.execute("SELECT create_distributed_table('users', 'tenant_id')")
        for table in ("user_tags", "memories", "vectors", "user_spaces", "memory_versions", "documents"):
            connection.execute("SELECT create_distributed_table(%s, 'tenant_id', colocate_with => 'users')", (table,))
        for table in ("document_sources", "idempotency_keys", "idempotency_users", "api_keys", "sessions", "audit_log"):
            connection.execute("SELECT create_distributed_table(%s, 'tenant_id', colocate_with => 'users')", (table,))
    with PersonalMemoryBrain(settings, embedder=ContextualFakeEmbedder(dim=16)) as brain:
        everything(brain)
        with open_store(settings).read() as transaction:
            words = transaction.lexical(
                Scope("default", "bea"), document_terms("fish"), 5, Where(now=datetime.now(UTC))
            )
            assert len(words.seqs) == 5
