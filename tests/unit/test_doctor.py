"""The doctor sees every kind of damage it names, and repairs what follows from the rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import numpy as np
import pytest

from maas import PersonalMemoryBrain, Settings
from maas.brain import utc_now
from maas.doctor.examine import examine
from maas.doctor.report import DoctorReport
from tests.fakes import FakeEmbedder, OtherFakeEmbedder

TEXTS = ["the boat is red", "the dog is called Spark", "Mia is allergic to peanuts", "the key is under the mat"]


@pytest.fixture
def damaged(settings: Settings, embedder: FakeEmbedder) -> Iterator[sqlite3.Connection]:
    """A connection to a filled database, to do harm with."""
    with PersonalMemoryBrain(settings, embedder=embedder) as brain:
        for user in ("ana", "ben"):
            brain.store_batch([{"text": text, "user_id": user, "metadata": {"n": 1}} for text in TEXTS])
        brain.acting_as("elsewhere", "x").store("not of this tenant", user_id="ana")
    connection = sqlite3.connect(settings.data_dir / "maas.db", isolation_level=None)
    yield connection
    connection.close()


def look(settings: Settings, *, repair: bool = False, embedder: FakeEmbedder | None = None) -> DoctorReport:
    return examine(settings, embedder or FakeEmbedder(), utc_now, repair=repair)


def faults(report: DoctorReport) -> set[str]:
    return {finding.check for finding in report.findings if finding.severity == "fault"}


def test_a_sound_folder_is_healthy(settings: Settings, damaged: sqlite3.Connection) -> None:
    report = look(settings)
    assert faults(report) == set(), report
    assert report.healthy
    assert {f.check for f in report.findings} >= {"files", "schema", "database", "words", "vectors", "counts", "recall"}


HARM = {
    "words": ["DELETE FROM memory_terms WHERE rowid = 2"],
    "damaged words": ["UPDATE memory_terms_data SET block = zeroblob(length(block)) WHERE id > 10"],
    "foreign words": ["UPDATE memory_terms SET terms = '2_peanuts' WHERE rowid = 1"],
    "orphan words": ["INSERT INTO memory_terms (rowid, terms) VALUES (999, '1_ghost')"],
    "no vector": ["DELETE FROM vectors WHERE seq = 3"],
    "orphan vector": ["INSERT INTO vectors SELECT tenant_id, user_id, space, 999, vector FROM vectors WHERE seq = 1"],
    "zero vector": ["UPDATE vectors SET vector = zeroblob(length(vector)) WHERE seq = 2"],
    "short vector": ["UPDATE vectors SET vector = zeroblob(3) WHERE seq = 2"],
    "counts": ["UPDATE users SET memories = 77, terms = 3"],
    "vector counts": ["UPDATE user_spaces SET vectors = 1"],
    "no history": ["DELETE FROM memory_versions WHERE user_id = 'ben'"],
    "orphan history": ["UPDATE memory_versions SET memory_id = 'ghost' WHERE user_id = 'ben' AND text LIKE '%boat%'"],
    "altered text": ["UPDATE memories SET text = 'the boat is blue' WHERE seq = 1"],
}


@pytest.mark.parametrize("kind", sorted(HARM))
def test_harm_is_seen_and_repaired(settings: Settings, damaged: sqlite3.Connection, kind: str) -> None:
    for statement in HARM[kind]:
        damaged.execute(statement)
    assert faults(look(settings)), "seen"
    report = look(settings, repair=True)
    assert report.healthy, report
    assert report.repaired
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        for user in ("ana", "ben"):
            for mode in ("dense", "lexical", "hybrid"):
                for text in TEXTS:
                    assert brain.recall(text, user_id=user, mode=mode).results[0].text == text


def test_a_running_process_takes_up_what_was_repaired(settings: Settings, damaged: sqlite3.Connection) -> None:
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        assert brain.recall(TEXTS[1], user_id="ana").results[0].text == TEXTS[1]
        noise = np.random.default_rng(1).standard_normal(384)
        vector = (noise / np.linalg.norm(noise) * 3).astype("<f2").tobytes()
        damaged.execute("UPDATE vectors SET vector = ? WHERE user_id = 'ana'", (vector,))
        assert look(settings, repair=True).healthy
        assert [h.text for h in brain.recall(TEXTS[1], user_id="ana", mode="dense", top_k=1).results] == [TEXTS[1]]


def test_a_text_altered_with_its_history_is_only_told(settings: Settings, damaged: sqlite3.Connection) -> None:
    damaged.execute("UPDATE memories SET text = 'the boat is blue' WHERE seq = 1")
    damaged.execute("UPDATE memory_versions SET text = 'the boat is blue' WHERE text = 'the boat is red'")
    report = look(settings, repair=True)
    assert not report.healthy
    assert faults(report) == {"texts", "embedder"}, "its vector still tells of the old one"


def test_another_embedder_is_a_warning_that_names_the_way(settings: Settings, damaged: sqlite3.Connection) -> None:
    report = look(settings, embedder=OtherFakeEmbedder())
    assert report.healthy
    assert [f.detail for f in report.findings if f.severity == "warning" and "maas reindex" in f.detail]


def test_a_model_that_changed_under_its_fingerprint_is_seen(settings: Settings, damaged: sqlite3.Connection) -> None:
    class Changed(OtherFakeEmbedder):
        @property
        def fingerprint(self) -> str:
            return FakeEmbedder().fingerprint

    assert faults(look(settings, embedder=Changed())) == {"embedder"}


def test_damage_beyond_repair_points_to_a_backup(settings: Settings, damaged: sqlite3.Connection) -> None:
    damaged.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damaged.close()
    path = settings.data_dir / "maas.db"
    content = bytearray(path.read_bytes())
    content[100:4000] = b"\xa5" * 3900
    path.write_bytes(content)
    report = look(settings, repair=True)
    assert not report.healthy
    assert "maas restore" in str(report)


def test_a_database_of_another_version_is_left_alone(settings: Settings, damaged: sqlite3.Connection) -> None:
    damaged.execute("UPDATE alembic_version SET version_num = '9999'")
    assert faults(look(settings, repair=True)) == {"schema"}
    assert damaged.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_no_database_is_said(settings: Settings) -> None:
    assert not look(settings).healthy
    settings.data_dir.mkdir()
    assert faults(look(settings)) == {"database"}
    assert list(settings.data_dir.iterdir()) == [], "looking makes nothing"
