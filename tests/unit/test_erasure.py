"""What is erased, deleted or expired is gone: from every table and index, and from the bytes on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from maas import PersonalMemoryBrain, Settings
from maas.errors import NotFoundError
from tests.conftest import FakeClock


def on_disk(folder: Path, *words: str) -> list[str]:
    """Those of ``words`` that a search of every byte in the data folder finds."""
    content = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    return [word for word in words if word.encode() in content]


def test_a_receipt_counts_and_is_signed_by_the_audit_log(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    brain.store_batch([{"text": f"note {n}", "user_id": "u"} for n in range(3)], idempotency_key="k")
    brain.recall("note", user_id="u")
    receipt = brain.erase_user("u")
    kept = {name: receipt.before[name] for name in ("memories", "vectors", "memory_terms", "vector_cache", "audit_log")}
    assert kept == {"memories": 3, "vectors": 3, "memory_terms": 3, "vector_cache": 3, "audit_log": 1}
    assert not any(receipt.after.values())
    assert receipt.erased_at == clock.now
    assert receipt.wiped
    assert receipt.sha256 == receipt.digest()
    assert receipt.model_copy(update={"after": {"memories": 1}}).digest() != receipt.sha256
    (entry,) = brain.audit(action="erase").results
    assert (entry.subject, entry.count) == (receipt.sha256, 3)


def test_no_byte_of_an_erased_user_is_left(brain: PersonalMemoryBrain, settings: Settings) -> None:
    brain.store(
        "the heirloom is a zanzibar chest", user_id="quentin", metadata={"where": "pantry-attic"}, key="k-chest"
    )
    old = brain.store("xylophone lessons on monday", user_id="quentin", agent_id="agent-smithers").results[0].id
    brain.update(old, text="marimba lessons on tuesday")
    brain.create_key(user_id="quentin", name="quentin-phone")
    brain.store_batch([{"text": f"shopping list {n}", "user_id": "other"} for n in range(50)])
    words = ("zanzibar", "pantry-attic", "k-chest", "xylophon", "marimba", "agent-smithers", "quentin")
    assert on_disk(settings.data_dir, *words) == list(words)
    assert brain.erase_user("quentin").wiped
    assert on_disk(settings.data_dir, *words) == []
    assert [entry.action for entry in brain.audit(user_id="quentin").results] == [
        "erase", "create key", "update", "store", "store",
    ]  # fmt: skip


def test_a_reader_puts_wiping_off_to_the_next_purge(brain: PersonalMemoryBrain, settings: Settings) -> None:
    brain.store("the heirloom is a zanzibar chest", user_id="u")
    with brain._store.read() as reading:
        next(reading.users())  # an older snapshot keeps its pages
        receipt = brain.erase_user("u")
        assert not any(receipt.after.values())
        assert not receipt.wiped
    assert on_disk(settings.data_dir, "zanzibar") == ["zanzibar"]
    report = brain.purge()
    assert report is not None
    assert report.wiped
    assert on_disk(settings.data_dir, "zanzibar") == []


def test_a_deleted_memory_is_overwritten_by_the_purge(brain: PersonalMemoryBrain, settings: Settings) -> None:
    brain.store_batch([{"text": f"shopping list {n}", "user_id": "u"} for n in range(50)])
    doomed = brain.store("the heirloom is a zanzibar chest", user_id="u").results[0].id
    brain.store_batch([{"text": f"packing list {n}", "user_id": "u"} for n in range(50)])
    brain.delete(doomed)
    assert brain.recall("zanzibar", user_id="u", mode="lexical").results == []
    brain.purge()
    assert on_disk(settings.data_dir, "zanzibar", "heirloom") == []
    assert len(brain.recall("list", user_id="u", mode="lexical", top_k=200).results) == 100


def test_expired_memories_are_purged(brain: PersonalMemoryBrain, clock: FakeClock, settings: Settings) -> None:
    brain.store("the door code is zanzibar", user_id="u", expires_at="2025-03-02T00:00:00Z")
    kept = brain.store("the door is green", user_id="u", expires_at="2025-04-01T00:00:00Z").results[0].id
    elsewhere = brain.acting_as("elsewhere", "x")
    gone = elsewhere.store("the gate code is zanzibar", user_id="u", expires_at="2025-03-02T00:00:00Z").results[0].id
    clock.advance(days=2)
    report = brain.purge()
    assert report is not None
    assert (report.expired, report.wiped) == (2, True)
    assert on_disk(settings.data_dir, "zanzibar") == []
    assert [hit.id for hit in brain.recall("door", user_id="u").results] == [kept]
    assert brain.reindex_status().total == 1
    with pytest.raises(NotFoundError):
        elsewhere.get(gone)
    assert [entry.count for entry in elsewhere.audit(action="purge").results] == [1]


def test_one_purge_in_a_while_is_enough_for_all_processes(
    brain: PersonalMemoryBrain, settings: Settings, clock: FakeClock
) -> None:
    from datetime import timedelta

    hour = timedelta(hours=1)
    with PersonalMemoryBrain(settings, embedder=brain.embedder, clock=clock) as other:
        assert brain.purge(unless_within=hour) is not None
        assert other.purge(unless_within=hour) is None
        clock.advance(minutes=61)
        assert other.purge(unless_within=hour) is not None
        clock.advance(days=-3)
        assert brain.purge(unless_within=hour) is not None, "a clock set back does not stop purging"


def test_old_audit_entries_are_purged(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    brain.store("the door is green", user_id="u")
    clock.advance(days=366)
    brain.store("the door is blue", user_id="u")
    report = brain.purge()
    assert report is not None
    assert report.audit_entries == 1
    assert len(brain.audit().results) == 1
