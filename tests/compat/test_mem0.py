"""mem0's calls and result shapes, on the embedded brain and against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from maas import PersonalMemoryBrain
from maas.compat.mem0 import Memory, MemoryClient
from maas.errors import NotFoundError
from tests.conftest import FakeClock
from tests.fakes import FakeEmbedder
from tests.live import Live, serving, someone

ITEM = {"id", "memory", "hash", "metadata", "created_at", "updated_at", "user_id"}
HISTORY = {
    "id",
    "memory_id",
    "old_memory",
    "new_memory",
    "event",
    "created_at",
    "updated_at",
    "is_deleted",
    "actor_id",
    "role",
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("data")) as live:
        yield live


@pytest.fixture(params=["Memory", pytest.param("MemoryClient", marks=pytest.mark.server)])
def memory(request: pytest.FixtureRequest, brain: PersonalMemoryBrain, live: Live) -> Iterator[Any]:
    if request.param == "Memory":
        yield Memory(brain=brain)
    else:
        with MemoryClient(api_key=live.admin_key, host=live.url) as client:
            yield client


@pytest.fixture
def user() -> str:
    return someone()


def test_add_search_get_update_history_delete(memory: Any, user: str) -> None:
    messages = [
        {"role": "system", "content": "You are helpful"},
        {"role": "user", "name": "ana", "content": "I am vegetarian and I love Thai food"},
        {"role": "assistant", "content": [{"type": "text", "text": "Noted: no meat"}]},
    ]
    added = memory.add(messages, user_id=user, agent_id="cook", run_id="r1", metadata={"topic": "food"})
    first, second = added["results"]
    assert first.items() >= {"memory": "I am vegetarian and I love Thai food", "event": "ADD", "role": "user"}.items()
    assert (first["actor_id"], second["memory"]) == ("ana", "Noted: no meat")
    assert memory.add(messages[1], user_id=user, agent_id="cook", run_id="r1")["results"][0]["event"] == "NONE"

    (hit,) = memory.search("Thai food", filters={"user_id": user}, top_k=1)["results"]
    assert hit.keys() >= ITEM | {"score", "agent_id", "run_id", "actor_id", "role"}
    assert (hit["id"], hit["run_id"], hit["metadata"]) == (first["id"], "r1", {"topic": "food"})
    assert 0 < hit["score"] <= 1

    memory.update(first["id"], text="I am vegan and I love Thai food", metadata={"strict": True})
    item = memory.get(first["id"])
    assert item.keys() >= ITEM
    assert (item["memory"], item["metadata"]) == ("I am vegan and I love Thai food", {"topic": "food", "strict": True})
    before, after = memory.history(first["id"])
    assert before.keys() == HISTORY
    assert (before["event"], before["old_memory"]) == ("ADD", None)
    assert (after["event"], after["old_memory"], after["new_memory"]) == (
        "UPDATE",
        "I am vegetarian and I love Thai food",
        "I am vegan and I love Thai food",
    )
    assert memory.delete(first["id"]) == {"message": "Memory deleted successfully!"}
    assert memory.history(first["id"]) == []
    left = memory.get_all(filters={"user_id": user})["results"]
    assert [item["id"] for item in left] == [second["id"]]


def test_messages_that_say_nothing_are_passed_over(memory: Any, user: str) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    turns = [{"role": "user", "content": "I row"}, call, {"role": "assistant", "content": " "}]
    assert [result["memory"] for result in memory.add(turns, user_id=user)["results"]] == ["I row"]
    assert memory.add([call], user_id=user) == {"results": []}


def test_filters_are_mem0s(memory: Any, user: str) -> None:
    for city, n in (("Tokyo", 1), ("Oslo", 5), ("Lima", 9)):
        memory.add(f"sushi in {city}", user_id=user, run_id=city.lower(), metadata={"city": city, "n": n})
    memory.add("sushi anywhere", user_id=user)

    def cities(filters: dict[str, Any]) -> set[str]:
        found = memory.search("sushi", filters=filters, threshold=0, top_k=10)["results"]
        assert found == memory.search("sushi", filters=filters, threshold=None, top_k=10)["results"]
        listed = memory.get_all(filters=filters)["results"]
        assert {item["id"] for item in found} == {item["id"] for item in listed}
        return {item["memory"].removeprefix("sushi ") for item in found}

    assert cities({"user_id": user, "city": "Tokyo"}) == {"in Tokyo"}
    assert cities({"user_id": user, "n": {"gte": 5}}) == {"in Oslo", "in Lima"}
    assert cities({"AND": [{"user_id": user}, {"n": {"lt": 5}}]}) == {"in Tokyo"}
    assert cities({"user_id": user, "OR": [{"city": "Oslo"}, {"n": 9}]}) == {"in Oslo", "in Lima"}
    assert cities({"user_id": user, "city": "*", "NOT": [{"city": "Oslo"}]}) == {"in Tokyo", "in Lima"}
    assert cities({"user_id": user, "run_id": "lima"}) == {"in Lima"}
    assert cities({"user_id": user, "OR": [{"run_id": "lima"}, {"city": {"in": ["Oslo"]}}]}) == {"in Oslo", "in Lima"}


def test_an_agent_without_a_user_has_memories_of_its_own(memory: Any, user: str) -> None:
    memory.add("the door code is 4711", agent_id=user)
    memory.add("the door code is 4711", user_id=user, agent_id="porter")
    assert len(memory.get_all(filters={"agent_id": user})["results"]) == 1
    memory.delete_all(agent_id=user)
    assert memory.get_all(filters={"agent_id": user})["results"] == []
    assert len(memory.get_all(filters={"user_id": user})["results"]) == 1


def test_delete_all_takes_only_what_was_named(memory: Any, user: str) -> None:
    other = someone()
    for run in ("a", "b"):
        memory.add(f"in run {run}", user_id=user, run_id=run)
    memory.add("untouched", user_id=other)
    memory.delete_all(user_id=user, run_id="a")
    assert [item["run_id"] for item in memory.get_all(filters={"user_id": user})["results"]] == ["b"]
    memory.delete_all(user_id=user)
    assert memory.get_all(filters={"user_id": user})["results"] == []
    assert len(memory.get_all(filters={"user_id": other})["results"]) == 1
    with pytest.raises(ValueError, match="user_id, agent_id and run_id"):
        memory.delete_all()


def test_delete_all_takes_what_was_replaced_as_well(brain: PersonalMemoryBrain) -> None:
    old = brain.store("I live in Rome", user_id="ana", session_id="a").results[0]
    brain.store("I live in Oslo", user_id="ana", session_id="a", supersedes=old.id)
    Memory(brain=brain).delete_all(user_id="ana", run_id="a")
    assert brain.list(user_id="ana", include_superseded=True).results == []


def test_delete_all_takes_documents_as_a_whole(brain: PersonalMemoryBrain) -> None:
    memory = Memory(brain=brain)
    brain.store_document("The sea is calm. " * 200, user_id="ana", agent_id="bot")
    brain.store("I row", user_id="ana", agent_id="bot")
    kept = brain.store_document("The lake is calm.", user_id="ana")
    memory.delete_all(user_id="ana", agent_id="bot")
    assert [one.id for one in brain.list_documents(user_id="ana").results] == [kept.id]
    assert {one.document_id for one in brain.list(user_id="ana").results} == {kept.id}


def test_threshold_and_explain(memory: Any, user: str) -> None:
    memory.add("the cat sleeps", user_id=user)
    (hit,) = memory.search("the cat sleeps", filters={"user_id": user}, explain=True)["results"]
    assert hit["score_details"]
    assert memory.search("quantum", filters={"user_id": user}, threshold=0.99)["results"] == []


def test_what_is_missing_or_wrong_is_said(memory: Any, user: str) -> None:
    with pytest.raises(ValueError, match="user_id, agent_id and run_id"):
        memory.add("x")
    with pytest.raises(ValueError, match="user_id, agent_id and run_id"):
        memory.search("x", filters={"city": "Oslo"})
    with pytest.raises(ValueError, match="found 7"):
        memory.get_all(filters={"user_id": 7})
    with pytest.raises(ValueError, match="image_url"):
        memory.add([{"role": "user", "content": [{"type": "image_url"}]}], user_id=user)
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        memory.add("x", user_id=user, expiration_date="tomorrow")
    with pytest.raises(ValueError, match="one user at a time"):
        memory.search("x", filters={"user_id": user, "OR": [{"user_id": "b"}]})
    added = memory.add("x", user_id=user)["results"][0]["id"]
    with pytest.raises(ValueError, match="at least one"):
        memory.update(added)


def test_memories_expire_at_the_end_of_their_day(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    memory = Memory(brain=brain)
    today = clock().date()
    added = memory.add("parking permit", user_id="ana", expiration_date=today.isoformat())["results"][0]["id"]
    assert memory.get(added).items() >= {"expiration_date": today.isoformat()}.items()  # type: ignore[union-attr]
    clock.now = datetime.combine(today, datetime.max.time(), UTC)
    assert memory.get(added) is not None
    clock.advance(seconds=1)
    assert memory.get(added) is None
    kept = memory.add("x", user_id="ana", expiration_date=date(2030, 1, 1))["results"][0]["id"]
    memory.update(kept, expiration_date=None)
    assert "expiration_date" not in (memory.get(kept) or {})


def test_what_is_not_there(brain: PersonalMemoryBrain) -> None:
    memory = Memory(brain=brain)
    assert memory.get("nothing") is None
    assert memory.history("nothing") == []
    for call in (memory.delete, lambda memory_id: memory.update(memory_id, text="x")):
        with pytest.raises(ValueError, match="nothing"):
            call("nothing")
    with pytest.raises(NotImplementedError, match="delete_all"):
        memory.reset()


def test_calls_as_before_mem0_1(brain: PersonalMemoryBrain) -> None:
    memory = Memory(brain=brain)
    for number in range(5):
        memory.add(f"fact {number}", user_id="ana")
    assert len(memory.search("fact", user_id="ana", limit=2)["results"]) == 2
    assert len(memory.get_all(user_id="ana", limit=3)["results"]) == 3
    with pytest.raises(TypeError, match="usr_id"):
        memory.search("fact", usr_id="ana")
    memory.update(memory.get_all(user_id="ana")["results"][0]["id"], data="fact five")


def test_mem0s_configuration_is_warned_about_and_maass_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("maas.brain._build", lambda _: FakeEmbedder())
    config = {
        "llm": {"provider": "openai"},
        "embedder": {"provider": "openai", "config": {}},
        "data_dir": tmp_path / "memories",
    }
    with (
        pytest.warns(UserWarning, match="llm, embedder is not used"),
        Memory.from_config(config | {"embedder": {"provider": "openai"}}) as memory,
    ):
        assert memory.brain.settings.data_dir == tmp_path / "memories"
    monkeypatch.delenv("MEM0_API_KEY", raising=False)
    with pytest.raises(ValueError, match="API key"):
        MemoryClient()


@pytest.mark.server
def test_the_client_pages_and_batches(live: Live, user: str) -> None:
    with MemoryClient(api_key=live.admin_key, host=live.url) as client:
        for number in range(5):
            client.add(f"fact {number}", user_id=user, timestamp=(datetime.now(UTC) - timedelta(days=9)).timestamp())
        first = client.get_all(filters={"user_id": user}, page=1, page_size=2)
        last = client.get_all(filters={"user_id": user}, page=3, page_size=2)
        assert (first["count"], len(first["results"]), first["previous"]) == (5, 2, None)
        assert (len(last["results"]), last["next"]) == (1, None)
        ids = [item["id"] for item in first["results"]]
        client.batch_update([{"memory_id": memory_id, "text": f"changed {memory_id}"} for memory_id in ids])
        assert client.get(ids[0])["memory"] == f"changed {ids[0]}"
        client.batch_delete([{"memory_id": memory_id} for memory_id in ids])
        with pytest.raises(NotFoundError):
            client.get(ids[0])
        client.delete_users(user_id=user)
        assert client.get_all(filters={"user_id": user})["count"] == 0
