"""The brain on PostgreSQL: what is stored is recalled, changed, dated and erased as on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from maas import PersonalMemoryBrain, Settings
from tests.conftest import FakeClock
from tests.fakes import ContextualFakeEmbedder, FakeEmbedder


@pytest.fixture
def brain(postgres_settings: Settings, clock: FakeClock) -> Iterator[PersonalMemoryBrain]:
    with PersonalMemoryBrain(postgres_settings, embedder=ContextualFakeEmbedder(dim=64), clock=clock) as brain:
        yield brain


def texts(brain: PersonalMemoryBrain, query: str, **fields: object) -> list[str]:
    return [hit.text for hit in brain.recall(query, user_id="ana", **fields).results]


def test_a_conversation_is_recalled_in_every_mode(brain: PersonalMemoryBrain) -> None:
    turns = ["Where do you sail?", "From Lisbon, in my red boat.", "How long is it?", "Nine metres."]
    brain.store_messages([{"role": "user", "content": turn} for turn in turns], user_id="ana", session_id="s")
    brain.store("The tomatoes are ripe", user_id="ana", metadata={"place": "garden", "n": 3})
    for mode in ("hybrid", "dense", "lexical"):
        assert texts(brain, "red boat Lisbon", mode=mode)[0] == turns[1], mode
    assert texts(brain, "tomatoes", filters={"metadata.n": {"gte": 3}}) == ["The tomatoes are ripe"]
    for values in ([*range(10, 1_009), 3], ["x", None, True, 2.5, 3]):
        assert texts(brain, "tomatoes", filters={"metadata.n": {"in": values}, "key": None})[:1] == [
            "The tomatoes are ripe"
        ]
    assert texts(brain, "tomatoes", filters={"metadata.place": {"in": [*map(str, range(999)), "garden"]}})
    assert texts(brain, "tomatoes", session_id="s", mode="lexical") == []
    brain.store("nested", user_id="ana", metadata={"tags": [["Red"], "blue"]})
    assert texts(brain, "nested", filters={"metadata.tags": {"icontains": "red"}}) == [], (
        "a list in the list is no text"
    )
    assert texts(brain, "nested", filters={"metadata.tags": {"icontains": "BLUE"}}) == ["nested"]
    explained = brain.recall("how long is the boat", user_id="ana", explain=True).results
    assert any(hit.explain and hit.explain["neighbours"] > 0 for hit in explained)


def test_the_past_and_what_replaced_it(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    first = brain.store("Ana lives in Porto", user_id="ana", key="home").results[0]
    then = clock.now
    clock.advance(days=30)
    brain.store("Ana lives in Lisbon", user_id="ana", key="home")
    assert texts(brain, "where does Ana live") == ["Ana lives in Lisbon"]
    assert texts(brain, "where does Ana live", as_of=then + timedelta(days=1)) == ["Ana lives in Porto"]
    assert [entry.version for entry in brain.history(first.id).results] == [1, 2]
    brain.update(first.id, text="Ana lives in Faro")
    assert texts(brain, "Faro", mode="lexical") == ["Ana lives in Faro"]
    assert texts(brain, "Lisbon", mode="lexical") == []


def test_erasure_leaves_nothing_but_its_receipt(brain: PersonalMemoryBrain) -> None:
    brain.store_batch([{"text": f"secret {n}", "user_id": "ana"} for n in range(5)], idempotency_key="k")
    brain.store("other", user_id="bob")
    receipt = brain.erase_user("ana")
    assert receipt.before["memories"] == receipt.before["memory_terms"] == receipt.before["vectors"] == 5
    assert not any(receipt.after.values())
    assert texts(brain, "secret") == []
    assert [hit.text for hit in brain.recall("other", user_id="bob").results] == ["other"]
    assert brain.audit(user_id="ana").results[0].action == "erase"


def test_a_document_is_kept_and_reindexed(brain: PersonalMemoryBrain, postgres_settings: Settings) -> None:
    made = brain.store_document(" ".join(f"Chapter {n} tells of island {n}." for n in range(200)), user_id="ana")
    assert made.passages > 1
    assert "island 77" in texts(brain, "island 77")[0]
    with PersonalMemoryBrain(postgres_settings, embedder=FakeEmbedder(dim=48, name="other")) as other:
        done = other.reindex()
        assert (done.state, done.done) == ("done", done.total)
        found = other.recall("island 77", user_id="ana", mode="hybrid").results
        assert "island 77" in found[0].text
    brain.delete_document(made.id, user_id="ana")
    assert texts(brain, "island") == []


def test_a_document_is_prolonged_and_leaves_what_it_replaced(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    tokyo = brain.store("I live in Tokyo", user_id="ana").results[0].id
    lease = {"text": "I live in Osaka now.", "user_id": "ana"}
    document = brain.store_document(**lease, expires_at=clock() + timedelta(hours=1))
    assert brain.store_document(**lease).id == document.id
    clock.advance(hours=2)
    assert texts(brain, "Osaka")[0] == lease["text"]
    brain.store(**lease, dedupe="semantic", supersedes=tokyo)
    assert "I live in Tokyo" not in texts(brain, "where do I live")
    brain.delete_document(document.id)
    assert texts(brain, "where do I live") == ["I live in Tokyo"]
    old = brain.store("PIN 1234", user_id="ana", key="k", expires_at=clock() + timedelta(hours=1)).results[0].id
    clock.advance(hours=2)
    assert brain.store("PIN 5678", user_id="ana", key="k", supersedes=old).results[0].event == "ADD"
    lines = list(brain.export_user("ana"))
    assert brain.import_memories(lines, user_id="ben").imported == 2
