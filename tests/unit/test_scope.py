"""No statement about a user's data is without the tenant and the user: looked for in what SQLite is really told."""

from __future__ import annotations

import re
import sqlite3

import pytest

from maas import PersonalMemoryBrain, Settings
from maas.storage import statements
from maas.storage.prepared import Prepared
from tests.fakes import FakeEmbedder, OtherFakeEmbedder

OWNED = (
    "users",
    "user_tags",
    "memories",
    "vectors",
    "user_spaces",
    "memory_versions",
    "idempotency_users",
    "documents",
    "document_sources",
)
# The users of a tenant are listed for a key of it, and those of a batch looked up together; all users for re-embedding
# and purging, and unread documents for whoever reads on: both then go user by user. A tag leads to its user inside a
# tenant. The rows behind the index of words are named by the numbers of rows that were found in a scope.
EXCEPTIONS = (
    re.compile(
        r"^SELECT users\.user_id, users\.memories, .* FROM users WHERE users\.tenant_id = \? AND users\.user_id > "
    ),
    re.compile(r"^SELECT users\.tenant_id, users\.user_id FROM users ORDER BY users\.number$"),
    re.compile(
        r"^SELECT users\.number, .* FROM users WHERE users\.tenant_id = (\?|:tenant) AND \(users\.user_id IN \("
    ),
    re.compile(r"^SELECT user_tags\.user_id, users\.tag FROM user_tags JOIN users .* WHERE user_tags\.tenant_id = "),
    re.compile(r"^SELECT documents\.tenant_id, .* FROM documents WHERE documents\.state = (\?|:state_1)$"),
    re.compile(r"^SELECT coalesce\(sum\((users\.memories|user_spaces\.vectors)\), "),
)


def unscoped(sql: str) -> list[str]:
    """The tables of users that a statement names without asking for tenant and user."""
    flat = " ".join(sql.split())
    if any(known.search(flat) for known in EXCEPTIONS):
        return []
    named = [table for table in OWNED if re.search(rf"\b(FROM|JOIN|UPDATE|INTO|EXISTS \(SELECT) {table}\b", flat)]
    if re.match(r"^INSERT (OR \w+ )?INTO", flat):
        return [] if "tenant_id" in flat and "user_id" in flat else named
    return [
        table
        for table in named
        if not all(re.search(rf"\b{table}\.{column} = (:|\?|\w+\.)", flat) for column in ("tenant_id", "user_id"))
    ]


@pytest.fixture
def told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that reaches SQLite, values left out."""
    seen: list[str] = []
    connect = sqlite3.dbapi2.connect

    class Listening(sqlite3.Connection):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:  # type: ignore[override]
            seen.append(sql)
            return super().execute(sql, *values)  # type: ignore[arg-type]

        def executemany(self, sql: str, *values: object) -> sqlite3.Cursor:  # type: ignore[override]
            seen.append(sql)
            return super().executemany(sql, *values)  # type: ignore[arg-type]

        def cursor(self, *_: object) -> sqlite3.Cursor:  # type: ignore[override]
            return super().cursor(_Cursor)

    class _Cursor(sqlite3.Cursor):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:  # type: ignore[override]
            seen.append(sql)
            return super().execute(sql, *values)  # type: ignore[arg-type]

        def executemany(self, sql: str, *values: object) -> sqlite3.Cursor:  # type: ignore[override]
            seen.append(sql)
            return super().executemany(sql, *values)  # type: ignore[arg-type]

    monkeypatch.setattr(
        sqlite3.dbapi2, "connect", lambda *args, **options: connect(*args, **{**options, "factory": Listening})
    )
    return seen


def test_prepared_statements_name_tenant_and_user() -> None:
    prepared = {name: value.sql for name, value in vars(statements).items() if isinstance(value, Prepared)}
    assert {name: found for name, sql in prepared.items() if (found := unscoped(sql))} == {}


def test_every_statement_of_every_call_names_tenant_and_user(settings: Settings, told: list[str]) -> None:
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        told.clear()
        stored = brain.store("the boat is red", user_id="u", key="k", metadata={"a": 1}, idempotency_key="i")
        one = stored.results[0].id
        brain.store("the boat is blue", user_id="u", key="k")
        brain.store("the boat is sold", user_id="u", supersedes=one, session_id="s", agent_id="a")
        brain.store_messages([{"role": "user", "content": "hello"}], user_id="u", session_id="s")
        brain.store("the boat was red", user_id="u", dedupe="semantic", expires_at="2020-01-01T00:00:00Z")
        for mode in ("hybrid", "dense", "lexical"):
            brain.recall("boat", user_id="u", mode=mode, filters={"metadata.a": {"gte": 1}}, explain=True)
            brain.recall("boat", user_id="u", mode=mode, include_superseded=True, since="2020-01-01T00:00:00Z")
        brain.context("boat", user_id="u", max_tokens=100)
        brain.get(one)
        brain.history(one)
        brain.update(one, text="the boat is green", metadata={})
        cursor = brain.list(user_id="u", limit=1).next_cursor
        brain.list(user_id="u", limit=1, cursor=cursor)
        lines = list(brain.export_user("u"))
        brain.delete(one)
        brain.import_memories(lines, user_id="v")
        key = brain.create_key(user_id="u")
        brain.authenticate(key.key)
        brain.rotate_key(key.id)
        document = brain.store_document("A long text. It goes on.", user_id="u")
        brain.get_document(document.id)
        brain.list_documents(user_id="u")
        brain.recall("text", user_id="u")
        brain.unread_documents()
        brain.delete_document(document.id)
        brain.list_users(matching="u")
        brain.surroundings(brain.list(user_id="u").results[0].id, user_id="u")
        brain.landscape("u")
        brain.purge()
        brain.audit(user_id="u")
        brain.erase_user("u")
    other = PersonalMemoryBrain(settings, embedder=OtherFakeEmbedder())
    other.reindex()
    other.close()
    assert len(told) > 200
    assert [sql for sql in told if unscoped(sql)] == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT memories.id FROM memories WHERE memories.tenant_id = :t",
        "SELECT memories.id FROM memories WHERE memories.user_id = :u",
        "UPDATE memories SET text = :x WHERE memories.id = :i",
        "DELETE FROM vectors WHERE vectors.tenant_id = :t AND vectors.seq = :s",
        "INSERT INTO memories (id, text) VALUES (?, ?)",
    ],
)
def test_a_statement_without_is_caught(sql: str) -> None:
    assert unscoped(sql)
