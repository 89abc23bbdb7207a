"""Databases that every released schema left behind, written by the programs of their time: up, down, and refused.

``tests/data/released`` holds one database a schema, with 16-dimensional vectors of the fake embedder.
"""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from maas import PersonalMemoryBrain, Settings
from maas.doctor.examine import examine
from maas.errors import ConfigError
from maas.storage.engine import make_engines, transaction
from maas.storage.migrate import MIGRATIONS, schema_revision
from maas.storage.tables import SCHEMA_REVISION
from tests.conftest import FakeClock
from tests.fakes import FakeEmbedder

RELEASED = sorted((Path(__file__).parents[1] / "data" / "released").glob("*.db.gz"))
REVISIONS = [path.name.removesuffix(".db.gz") for path in RELEASED]
TURNS = ["the dog is called Rex", "what a fine name"]


@pytest.fixture(params=RELEASED, ids=REVISIONS)
def old(request: pytest.FixtureRequest, settings: Settings) -> str:
    """A database of an old schema in the data folder; its revision."""
    settings.data_dir.mkdir(parents=True)
    (settings.data_dir / "maas.db").write_bytes(gzip.decompress(request.param.read_bytes()))
    return str(request.param.name.removesuffix(".db.gz"))


def open_brain(settings: Settings, clock: FakeClock) -> PersonalMemoryBrain:
    return PersonalMemoryBrain(settings, embedder=FakeEmbedder(dim=16), clock=clock)


def everything(brain: PersonalMemoryBrain) -> list[object]:
    """All of every user, but for when it was exported."""
    lines: list[object] = []
    for tenant, user in (("default", "ann"), ("default", "bob"), ("other", "ann")):
        exported = brain.acting_as(tenant, "test").export_user(user)
        lines += [{name: value for name, value in line.items() if name != "exported_at"} for line in exported]
    return lines


def test_every_schema_before_this_one_is_kept() -> None:
    assert [*REVISIONS, SCHEMA_REVISION] == sorted({*REVISIONS, SCHEMA_REVISION})
    assert len(REVISIONS) == int(REVISIONS[-1]), "one for each"


def test_nothing_is_lost_on_the_way_up(old: str, settings: Settings, clock: FakeClock) -> None:
    with open_brain(settings, clock) as brain:
        listed = brain.list(user_id="ann", include_superseded=True, limit=100).results
        texts = [memory.text for memory in listed if memory.document_id is None]
        assert sorted(texts) == sorted(
            ["the boat is green", "I live in Paris", "I live in Tokyo", *TURNS, "this has gone bad"]
        )
        boat = brain.recall("green boat", user_id="ann").results[0]
        assert (boat.text, boat.metadata, boat.key, boat.importance) == (
            "the boat is green", {"n": 1, "日本": ["x"]}, "boat", 0.5,
        )  # fmt: skip
        assert boat.created_at.isoformat() == "2024-05-01T10:00:00+00:00"
        assert [entry.text for entry in brain.history(boat.id).results] == ["the boat is red", "the boat is green"]
        for mode in ("hybrid", "dense", "lexical"):
            assert brain.recall("live in", user_id="ann", mode=mode).results[0].text == "I live in Tokyo"
        assert [hit.text for hit in brain.recall("boat", user_id="bob").results] == ["the boat of bob is blue"]
        other = brain.acting_as("other", "t")
        assert [hit.text for hit in other.recall("boat", user_id="ann").results] == ["the boat of another tenant"]
        once = brain.store("the boat of bob is blue", user_id="bob")
        assert once.results[0].event == "NONE"
        assert [(key.name, key.user_id) for key in brain.list_keys().results] == [("phone", "ann")]
        documents = brain.list_documents(user_id="ann").results
        assert [document.title for document in documents] == (["Lease"] if old >= "0003" else [])
        status = brain.reindex_status()
        assert status.done == status.total
    report = examine(settings, FakeEmbedder(dim=16), clock)
    assert [f for f in report.findings if f.severity == "fault"] == []


def test_down_again_and_up_again_leaves_what_that_schema_held(old: str, settings: Settings, clock: FakeClock) -> None:
    with open_brain(settings, clock) as brain:
        before = everything(brain)
    move(settings, old)
    with closing(sqlite3.connect(settings.data_dir / "maas.db")) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchone() == (old,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with open_brain(settings, clock) as brain:
        assert everything(brain) == before


def move(settings: Settings, revision: str) -> None:
    """Take the database down to a revision, as an operator would who goes back to an older program."""
    reader, writer = make_engines(settings)
    try:
        with transaction(writer, "BEGIN IMMEDIATE") as opened, opened.connection.begin():
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = opened.connection
            command.downgrade(config, revision)
            assert schema_revision(opened.connection) == revision
    finally:
        reader.dispose()
        writer.dispose()


def test_a_newer_schema_is_refused_and_left_as_it_is(old: str, settings: Settings, clock: FakeClock) -> None:
    """What an old program says of a database that a newer one has migrated."""
    path = settings.data_dir / "maas.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9001'")
        database.execute("ALTER TABLE memories ADD COLUMN unheard_of TEXT")
    kept = path.read_bytes()
    with pytest.raises(ConfigError, match=rf"has schema '9001', this program knows up to '{SCHEMA_REVISION}'; upgrade"):
        open_brain(settings, clock)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM memories").fetchone()[0] > 5
    assert len(path.read_bytes()) == len(kept)
