"""Backup and restore, and export and import: what comes back is what was there."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from maas import PersonalMemoryBrain, Settings
from maas.backup import back_up, restore
from maas.errors import AuthenticationError, ConflictError, NotFoundError, StorageError, UnavailableError
from tests.fakes import FakeEmbedder


def filled(brain: PersonalMemoryBrain) -> None:
    brain.store("the boat is red", user_id="ana", key="boat", metadata={"n": 1})
    brain.store("the boat is blue", user_id="ana", key="boat")
    brain.store("the dog is called Spark", user_id="ben", importance=0.5, expires_at="2999-01-01T00:00:00Z")


def everything(brain: PersonalMemoryBrain, *users: str) -> list[dict[str, Any]]:
    lines = [line for user in users for line in brain.export_user(user)]
    return [{k: v for k, v in line.items() if k != "exported_at"} for line in lines]


def test_a_backup_comes_back_whole(brain: PersonalMemoryBrain, settings: Settings, tmp_path: Path) -> None:
    filled(brain)
    before = everything(brain, "ana", "ben")
    manifest = back_up(settings, tmp_path / "kept" / "one.db")
    assert (manifest.users, manifest.memories) == (2, 2)
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == ["one.db", "one.db.json"]
    elsewhere = Settings(data_dir=tmp_path / "elsewhere")
    report = restore(elsewhere, tmp_path / "kept" / "one.db")
    assert report.previous is None
    with PersonalMemoryBrain(elsewhere, embedder=FakeEmbedder()) as other:
        assert everything(other, "ana", "ben") == before
        assert other.recall("boat", user_id="ana").results[0].text == "the boat is blue"
        assert other.audit().results[0].action == "store"


def test_a_backup_is_one_state_while_others_write(
    brain: PersonalMemoryBrain, settings: Settings, tmp_path: Path
) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            brain.store_batch([{"text": "one of two", "user_id": "u", "dedupe": "off"}] * 2)

    brain.store_batch([{"text": f"filler {n}", "user_id": "f"} for n in range(300)])
    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = [back_up(settings, tmp_path / f"{n}.db") for n in range(2)]
    finally:
        stop.set()
        writer.join()
    for n, manifest in enumerate(made):
        assert (manifest.memories - 300) % 2 == 0
        place = Settings(data_dir=tmp_path / f"restored-{n}")
        restore(place, tmp_path / f"{n}.db")
        with PersonalMemoryBrain(place, embedder=FakeEmbedder()) as brain_:
            status = brain_.reindex_status()
            assert status.done == status.total == manifest.memories


def test_an_altered_backup_is_refused(brain: PersonalMemoryBrain, settings: Settings, tmp_path: Path) -> None:
    filled(brain)
    back_up(settings, tmp_path / "b.db")
    content = bytearray((tmp_path / "b.db").read_bytes())
    content[-5000] ^= 1
    (tmp_path / "b.db").write_bytes(content)
    with pytest.raises(StorageError, match="was altered"):
        restore(Settings(data_dir=tmp_path / "new"), tmp_path / "b.db")
    assert not (tmp_path / "new" / "maas.db").exists()


def test_a_hash_that_holds_is_not_all(brain: PersonalMemoryBrain, settings: Settings, tmp_path: Path) -> None:
    """A backup made of a database that lost its words is not made."""
    filled(brain)
    with brain._store.write() as transaction:
        transaction._driver.execute("DELETE FROM memory_terms")  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match="the index of words is damaged"):
        back_up(settings, tmp_path / "b.db")
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


def test_restore_replaces_nothing_by_accident(brain: PersonalMemoryBrain, settings: Settings, tmp_path: Path) -> None:
    filled(brain)
    back_up(settings, tmp_path / "b.db")
    with pytest.raises(ConflictError, match="b.db is there already"):
        back_up(settings, tmp_path / "b.db")
    with pytest.raises(ConflictError, match="--replace"):
        restore(settings, tmp_path / "b.db")
    with pytest.raises(UnavailableError, match="stop the servers"):
        restore(settings, tmp_path / "b.db", replace=True)
    assert len(everything(brain, "ana", "ben")) == 4, "and the open brain goes on"
    with pytest.raises(NotFoundError, match=r"nothing\.db"):
        restore(settings, tmp_path / "nothing.db", replace=True)
    (tmp_path / "b.db.json").write_text(json.dumps({"maas_backup": 2}))
    with pytest.raises(StorageError, match="no manifest"):
        restore(settings, tmp_path / "b.db", replace=True)


def test_who_was_erased_since_stays_erased(settings: Settings, tmp_path: Path) -> None:
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        filled(brain)
        back_up(settings, tmp_path / "b.db")
        receipt = brain.erase_user("ana")
        assert [backup.name for backup in receipt.backups] == ["b.db"]
        assert receipt.digest() == receipt.sha256
    report = restore(settings, tmp_path / "b.db", replace=True)
    assert report.erased_again == 1
    assert report.previous is not None
    assert Path(report.previous).is_file()
    assert b"boat" not in (settings.data_dir / "maas.db").read_bytes()
    assert restore(settings, tmp_path / "b.db", replace=True).erased_again == 1, "what was restored knows of it"
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        assert brain.list(user_id="ana").results == []
        assert len(brain.list(user_id="ben").results) == 1
        assert {backup.name for backup in brain.erase_user("ben").backups} == {"b.db"}


def test_keys_that_have_ended_since_stay_ended(settings: Settings, tmp_path: Path) -> None:
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        revoked, rotated, kept = (brain.create_key(name=name) for name in ("revoked", "rotated", "kept"))
        back_up(settings, tmp_path / "b.db")
        brain.revoke_key(revoked.id)
        brain.rotate_key(rotated.id, grace_seconds=3600)
    restore(settings, tmp_path / "b.db", replace=True)
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        with pytest.raises(AuthenticationError):
            brain.authenticate(revoked.key)
        assert brain.authenticate(rotated.key).expires_at is not None
        assert brain.authenticate(kept.key).expires_at is None


def test_export_and_import_are_identical(brain: PersonalMemoryBrain, tmp_path: Path) -> None:
    """Ids, times, history and vectors; the header's time is that of the export."""
    filled(brain)
    lines = list(brain.export_user("ana"))
    with PersonalMemoryBrain(Settings(data_dir=tmp_path / "copy"), embedder=FakeEmbedder()) as other:
        assert other.import_memories(lines).imported == 1
        assert everything(other, "ana") == everything(brain, "ana")
