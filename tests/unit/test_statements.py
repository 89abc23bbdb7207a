"""The statements of the hot path: what SQLite makes of them, and that they read and bind as SQLAlchemy does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import bindparam, create_engine, insert, select, text

from maas import PersonalMemoryBrain, Settings
from maas.storage import statements
from maas.storage.prepared import Prepared
from maas.storage.tables import memory_versions
from tests.fakes import FakeEmbedder

NOW = datetime(2025, 3, 1, 12, 30, 0, 7, tzinfo=UTC)
VERSION = {
    "tenant_id": "t",
    "user_id": "u",
    "memory_id": "m",
    "version": 1,
    "event": "ADD",
    "text": "it's “quoted”",
    "metadata": {"ü": [1, None]},
    "importance": 0.25,
    "expires_at": None,
    "at": NOW,
    "actor": "test",
    "valid_from": NOW,
}

PREPARED = {name: value for name, value in vars(statements).items() if isinstance(value, Prepared)}
# These look at one row of one table, or at the few values they were given.
SCANNED = ("SCAN sqlite_sequence", "SCAN CONSTANT ROW", "VIRTUAL TABLE")


@pytest.fixture
def driver(settings: Settings) -> Iterator[sqlite3.Connection]:
    PersonalMemoryBrain(settings, embedder=FakeEmbedder(dim=16)).close()
    connection = sqlite3.connect(settings.data_dir / "maas.db", isolation_level=None)
    yield connection
    connection.close()


@pytest.mark.parametrize("name", sorted(PREPARED))
def test_no_statement_reads_a_whole_table(driver: sqlite3.Connection, name: str) -> None:
    query = f"EXPLAIN QUERY PLAN {PREPARED[name].sql}"
    steps = [step for *_, step in driver.execute(query, _Anything()).fetchall()]
    assert [s for s in steps if s.startswith("SCAN") and not any(known in s for known in SCANNED)] == []


def test_rows_are_looked_up_by_their_number(driver: sqlite3.Connection) -> None:
    plan = driver.execute(f"EXPLAIN QUERY PLAN {statements.BY_SEQ.sql}", _Anything()).fetchall()
    assert "INTEGER PRIMARY KEY" in plan[0][3], "and not by reading all of a user's rows"


def test_values_come_back_as_sqlalchemy_reads_them(settings: Settings, driver: sqlite3.Connection) -> None:
    statements.ADD_VERSION.run(driver, **VERSION)
    query = select(memory_versions).where(memory_versions.c.memory_id == bindparam("id"))
    prepared = Prepared(query)
    (row,) = prepared.rows(driver, id="m")
    assert dict(zip(memory_versions.c.keys(), row, strict=True)) == VERSION
    engine = create_engine(settings.database_url)
    with engine.begin() as connection:
        assert tuple(connection.execute(query, {"id": "m"}).one()) == row
        connection.execute(insert(memory_versions).values({**VERSION, "version": 2}))
    engine.dispose()
    second = Prepared(query.where(memory_versions.c.version == 2)).first(driver, id="m")
    assert second == (*row[:3], 2, *row[4:]), "and are written as SQLAlchemy writes them"


def test_returning_none_and_missing_parameters(driver: sqlite3.Connection) -> None:
    number = Prepared(text("SELECT number FROM users WHERE user_id = :user"))
    assert number.first(driver, user="u") is None
    assert number.scalar(driver, user="u") is None
    values = {"tenant_id": "t", "tag": "x", "reset_revision": 0, "memories": 0, "terms": 0}
    added = statements.ADD_USER.first(driver, user_id="u", revision=1, **values)
    assert added is not None
    assert number.scalar(driver, user="u") == added[0]
    touched = statements.TOUCH_USER.first(driver, tenant="t", user="u", reset=True)
    assert touched is not None
    assert touched[4:6] == (2, 2), "revision and reset_revision"
    with pytest.raises(sqlite3.ProgrammingError):
        number.first(driver)


class _Anything(dict[str, None]):
    """A value for every parameter: plans do not depend on them."""

    def __missing__(self, name: str) -> None:
        return None
