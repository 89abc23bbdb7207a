"""The doctor on PostgreSQL: it sees every kind of damage it names, and repairs what follows from the rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from maas import PersonalMemoryBrain, Settings
from maas.brain import utc_now
from maas.doctor.examine import examine
from maas.doctor.report import DoctorReport
from tests.fakes import FakeEmbedder
from tests.postgres import Server
from tests.unit.test_doctor import TEXTS, faults


@pytest.fixture
def damaged(postgres: Server, postgres_settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a filled database, to do harm with."""
    with PersonalMemoryBrain(postgres_settings, embedder=FakeEmbedder(dim=32)) as brain:
        for user in ("ana", "ben"):
            brain.store_batch([{"text": text, "user_id": user, "metadata": {"n": 1}} for text in TEXTS])
        brain.acting_as("elsewhere", "x").store("the fish is not not of this tenant", user_id="ana")
    with postgres.connect(str(make_url(str(postgres_settings.storage.url)).database)) as connection:
        yield connection


def look(settings: Settings, *, repair: bool = False) -> DoctorReport:
    return examine(settings, FakeEmbedder(dim=32), utc_now, repair=repair)


def test_a_sound_database_is_healthy(postgres_settings: Settings, damaged: psycopg.Connection[Any]) -> None:
    report = look(postgres_settings)
    assert report.healthy, report
    assert not [finding for finding in report.findings if finding.severity != "ok"]
    looked_at = {finding.check for finding in report.findings}
    assert looked_at == {
        *("schema", "database", "references", "texts", "history", "words", "vectors", "counts", "recall", "embedder")
    }


HARM = {
    "words": "UPDATE memories SET words = '' WHERE seq = 2",
    "foreign words": "UPDATE memories SET words = array_to_tsvector(ARRAY['2_peanuts']) WHERE seq = 1",
    "word count": "UPDATE memories SET term_count = 99 WHERE seq = 1",
    "no vector": "DELETE FROM vectors WHERE seq = 3",
    "orphan vector": "INSERT INTO vectors SELECT tenant_id, user_id, space, 999, vector FROM vectors WHERE seq = 1",
    "zero vector": "UPDATE vectors SET vector = vector - vector WHERE seq = 2",
    "short vector": "UPDATE vectors SET vector = '[1,0]' WHERE seq = 2",
    "lost space": "UPDATE vectors SET space = 77 WHERE seq = 2",
    "counts": "UPDATE users SET memories = 77, terms = 3",
    "vector counts": "UPDATE user_spaces SET vectors = 1",
    "no history": "DELETE FROM memory_versions WHERE user_id = 'ben'",
    "orphan history": "UPDATE memory_versions SET memory_id = 'ghost' WHERE user_id = 'ben' AND text LIKE '%boat%'",
    "altered text": "UPDATE memories SET text = 'the boat is blue' WHERE seq = 1",
}


def test_harm_is_seen_and_repaired(postgres_settings: Settings, damaged: psycopg.Connection[Any]) -> None:
    unseen = []
    for kind, statement in HARM.items():
        damaged.execute(statement)
        if look(postgres_settings).healthy:
            unseen.append(kind)
        report = look(postgres_settings, repair=True)
        assert report.healthy, (kind, report)
        assert report.repaired
    assert unseen == []
    with PersonalMemoryBrain(postgres_settings, embedder=FakeEmbedder(dim=32)) as brain:
        for mode in ("dense", "lexical", "hybrid"):
            for text in TEXTS:
                assert brain.recall(text, user_id="ana", mode=mode).results[0].text == text


def test_what_only_an_operator_can_mend_is_told(postgres_settings: Settings, damaged: psycopg.Connection[Any]) -> None:
    damaged.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'memories_words'::regclass")
    report = look(postgres_settings)
    assert faults(report) == {"database"}
    assert "REINDEX INDEX CONCURRENTLY" in str(report)
    damaged.execute("REINDEX INDEX memories_words")
    damaged.execute("UPDATE alembic_version SET version_num = '9999'")
    assert faults(look(postgres_settings, repair=True)) == {"schema"}
    assert damaged.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_a_giant_without_an_index_is_told(postgres_settings: Settings, damaged: psycopg.Connection[Any]) -> None:
    storage = postgres_settings.storage.model_copy(update={"exact_up_to": 3})
    report = look(postgres_settings.model_copy(update={"storage": storage}))
    assert report.healthy
    assert [finding.detail for finding in report.findings if finding.severity == "warning"] == [
        "2 users have more than 3 vectors and no index of them; run `maas tune`"
    ]


def test_a_server_that_does_not_answer_is_said(tmp_path: Any) -> None:
    url = f"postgresql+psycopg://maas@/maas?host={tmp_path}"
    report = look(Settings(data_dir=tmp_path, storage={"url": url}))  # type: ignore[arg-type]
    assert faults(report) == {"database"}
    assert "cannot be reached" in str(report)
