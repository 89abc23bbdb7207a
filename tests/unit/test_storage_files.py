"""The database as a file: migrated once however many start, refused when newer, intact after kill -9."""

from __future__ import annotations

import runpy
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from maas import PersonalMemoryBrain, Settings
from maas.errors import ConfigError, NotReadyError, UnavailableError
from maas.storage import tables
from maas.storage.migrate import MIGRATIONS
from tests.fakes import FakeEmbedder

ROOT = Path(__file__).resolve().parents[2]

TIMES = ("created_at", "updated_at", "stored_at")

WRITER = """
    import sys
    from maas import PersonalMemoryBrain, Settings
    from tests.fakes import FakeEmbedder
    brain = PersonalMemoryBrain(Settings(data_dir=sys.argv[1]), embedder=FakeEmbedder(dim=16))
    for i in range(int(sys.argv[3])):
        print(brain.store(f"{sys.argv[2]} {i}", user_id="u").results[0].id, flush=True)
"""


def start_writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def open_brain(settings: Settings) -> PersonalMemoryBrain:
    return PersonalMemoryBrain(settings, embedder=FakeEmbedder(dim=16))


def test_the_program_knows_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [tables.SCHEMA_REVISION]


def test_tables_and_migrations_agree(settings: Settings) -> None:
    open_brain(settings).close()
    engine = create_engine(settings.database_url)
    found = inspect(engine)
    for table in tables.metadata.sorted_tables:
        columns = {column["name"]: bool(column["nullable"]) for column in found.get_columns(table.name)}
        declared = {c.name: bool(c.nullable) for c in table.columns}
        primary = {c.name for c in table.primary_key.columns}
        assert set(columns) == set(declared), table.name
        assert {n: v for n, v in columns.items() if n not in primary} == {
            n: v for n, v in declared.items() if n not in primary
        }, table.name
    engine.dispose()


def test_versions_of_the_first_schema_learn_since_when_they_hold(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True)
    with closing(sqlite3.connect(settings.data_dir / "maas.db")) as database, database:
        first = runpy.run_path(str(MIGRATIONS / "versions" / "0001_initial.py"))
        for statement in (*first["STATEMENTS"], "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"):
            database.execute(statement)
        for table, columns, values in (
            ("alembic_version", "version_num", "'0001'"),
            ("users", "tenant_id, user_id, tag, revision", "'default', 'u', '0123456789', 1"),
            ("user_tags", "tenant_id, user_id, tag", "'default', 'u', '0123456789'"),
            (
                "memories",
                f"tenant_id, user_id, id, text, text_hash, metadata, term_count, version, revision, {', '.join(TIMES)}",
                "'default', 'u', '0123456789a', 'new', x'00', '{}', 0, 2, 1, 1, 9, 7",
            ),
        ):
            database.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})")
        for version, text, at in ((1, "old", 7), (2, "new", 9)):
            database.execute(
                "INSERT INTO memory_versions (tenant_id, user_id, memory_id, version, event, text, metadata, at, actor)"
                " VALUES ('default', 'u', '0123456789a', ?, 'ADD', ?, '{}', ?, 'a')",
                (version, text, at),
            )
    with open_brain(settings) as brain:
        entries = brain.history("0123456789a").results
        assert [(entry.text, entry.valid_from.microsecond) for entry in entries] == [("old", 1), ("new", 9)]


def test_processes_starting_at_once_migrate_once_and_lose_nothing(settings: Settings) -> None:
    writers = [start_writer(settings.data_dir, f"writer-{i}", 8) for i in range(3)]
    stored: list[str] = []
    for writer in writers:
        out, fault = writer.communicate(timeout=90)
        assert writer.returncode == 0, fault
        stored += out.split()
    with open_brain(settings) as brain:
        assert {memory.id for memory in brain.list(user_id="u", limit=100).results} == set(stored)
        assert len(stored) == 24


def test_kill_loses_no_acknowledged_write(settings: Settings) -> None:
    writer = start_writer(settings.data_dir, "doomed", 100_000)
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline().strip() for _ in range(30)]
    writer.kill()
    rest, _ = writer.communicate(timeout=30)
    acknowledged += [line for line in rest.split("\n")[:-1] if line]
    with open_brain(settings) as brain:
        listed, cursor = set(), None
        while True:
            page = brain.list(user_id="u", limit=1000, cursor=cursor)
            listed |= {memory.id for memory in page.results}
            if page.next_cursor is None:
                break
            cursor = page.next_cursor
        assert set(acknowledged) <= listed
        newest = brain.get(acknowledged[-1])
        assert brain.recall(newest.text, user_id="u").results[0].id == newest.id
        status = brain.reindex_status()
        assert status.done == status.total == len(listed), "row and vector are written together"


def test_a_newer_database_is_refused(settings: Settings) -> None:
    open_brain(settings).close()
    connection = sqlite3.connect(settings.data_dir / "maas.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(ConfigError, match="9999.*upgrade maas"):
        open_brain(settings)


def test_a_locked_database_is_worth_a_retry(settings: Settings) -> None:
    hasty = settings.model_copy(update={"storage": settings.storage.model_copy(update={"busy_timeout_ms": 50})})
    with open_brain(hasty) as brain:
        other = sqlite3.connect(settings.data_dir / "maas.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError) as caught:
            brain.store("x", user_id="u")
        assert caught.value.retry_after
        with pytest.raises(NotReadyError):
            brain.ready()
        assert brain.list(user_id="u").results == [], "reading goes on"
        other.execute("ROLLBACK")
        other.close()
        assert brain.store("x", user_id="u").results[0].event == "ADD"


def test_other_databases_are_refused() -> None:
    for url in ("mysql://localhost/x", "sqlite:///:memory:", "sqlite://"):
        with pytest.raises(ConfigError, match="storage.url"):
            open_brain(Settings(storage={"url": url}))
