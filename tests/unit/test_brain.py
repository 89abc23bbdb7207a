"""The life of a memory, through the brain's public methods."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from maas import PersonalMemoryBrain, Settings
from maas.errors import (
    ConfigError,
    ConflictError,
    FingerprintMismatchError,
    IdempotencyConflictError,
    InvalidInputError,
    MaasError,
    NotFoundError,
)
from maas.records import Scope
from maas.settings import DedupeSettings
from maas.twins import may_be_twins
from tests.conftest import FakeClock
from tests.fakes import FakeEmbedder, OtherFakeEmbedder


def texts(brain: PersonalMemoryBrain, query: str, **fields: Any) -> list[str]:
    return [hit.text for hit in brain.recall(query, user_id="u", **fields).results]


def only_id(brain: PersonalMemoryBrain, text: str, **fields: Any) -> str:
    return brain.store(text, user_id="u", **fields).results[0].id


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_recalls_the_nearest_first_with_scores_in_range(brain: PersonalMemoryBrain, mode: str) -> None:
    brain.store_batch([{"text": t, "user_id": "u"} for t in ("my cat sleeps", "rain in Paris", "I bake bread")])
    hits = brain.recall("who bakes bread", user_id="u", mode=mode, explain=True).results
    assert hits[0].text == "I bake bread"
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    explain = hits[0].explain or {}
    parts = {"dense": {"dense", "context"}, "lexical": {"lexical", "neighbours", "session", "speaker", "role"}}
    parts["hybrid"] = parts["dense"] | parts["lexical"]
    assert set(explain) == parts[mode] | {"prior"}
    assert 1 / (1 + math.exp(-sum(explain.values()))) == pytest.approx(scores[0])
    best = scores[0]
    assert texts(brain, "who bakes bread", mode=mode, min_score=best) == ["I bake bread"]


def test_mmr_tells_different_things(brain: PersonalMemoryBrain) -> None:
    tea = [f"I drink green tea, cup number {number}" for number in range(4)]
    for text in (*tea, "green tea was gone at the market", "rain in Paris"):
        brain.store(text, user_id="u")
    plain = texts(brain, "green tea", top_k=3)
    spread = texts(brain, "green tea", top_k=3, mmr=0.4)
    assert plain[0] == spread[0]
    assert "green tea was gone at the market" in spread
    assert texts(brain, "green tea", top_k=3, mmr=1.0) == texts(brain, "green tea", top_k=3, mmr=False) == plain
    assert len(texts(brain, "green tea", mmr=True, mode="lexical")) == 5
    with pytest.raises(InvalidInputError, match="mmr"):
        brain.recall("green tea", user_id="u", mmr=1.5)


def test_repetition_is_recognised_but_not_across_sessions(brain: PersonalMemoryBrain) -> None:
    first = brain.store("ok", user_id="u", session_id="1").results[0]
    again = brain.store("ok", user_id="u", session_id="1").results[0]
    other = brain.store("ok", user_id="u", session_id="2").results[0]
    forced = brain.store("ok", user_id="u", session_id="1", dedupe="off").results[0]
    assert (first.event, again.event, other.event, forced.event) == ("ADD", "NONE", "ADD", "ADD")
    assert again.id == first.id
    batch = brain.store_batch([{"text": "twice", "user_id": "u"}] * 2).results
    assert [result.event for result in batch] == ["ADD", "NONE"]
    assert batch[0].id == batch[1].id


def test_semantic_dedupe_finds_the_twin_and_similar_names_it(brain: PersonalMemoryBrain) -> None:
    first = only_id(brain, "I live in Tokyo")
    twin = brain.store("I live in TOKYO!", user_id="u", dedupe="semantic").results[0]
    assert (twin.event, twin.id) == ("NONE", first)
    assert twin.similar[0].id == first
    assert twin.similar[0].score == pytest.approx(1, abs=1e-3)
    both = [{"text": t, "user_id": "u", "dedupe": "semantic"} for t in ("quite new", "Quite new?")]
    assert [result.event for result in brain.store_batch(both).results] == ["ADD", "NONE"]


@pytest.mark.parametrize(
    ("first", "second", "event"),
    [
        ("We have 2 cats at home in Lisbon", "We have 3 cats at home in Lisbon", "ADD"),
        ("We have two cats at home in Lisbon", "We have three cats at home in Lisbon", "ADD"),
        ("I do like tea", "I do not like tea", "ADD"),
        ("I don’t like tea", "I don't like tea.", "NONE"),
        ("We have 2 cats at home in Lisbon", "We have 2 cats; at home in Lisbon!", "NONE"),
    ],
)
def test_a_number_or_a_denial_makes_no_twin(settings: Settings, first: str, second: str, event: str) -> None:
    close = settings.model_copy(update={"dedupe": DedupeSettings(same_meaning=0.3)})
    with PersonalMemoryBrain(close, embedder=FakeEmbedder()) as brain:
        brain.store(first, user_id="u")
        assert brain.store(second, user_id="u", dedupe="semantic").results[0].event == event
        turn = [{"role": "user", "name": "Ann", "content": first}]
        assert brain.store_messages(turn, user_id="u", dedupe="semantic").results[0].event == "ADD", "another speaker"


def test_thresholds_can_be_set(settings: Settings) -> None:
    strict = settings.model_copy(update={"dedupe": DedupeSettings(same_meaning=1.0, similar=0.99)})
    with PersonalMemoryBrain(strict, embedder=FakeEmbedder()) as brain:
        brain.store("I live in Tokyo", user_id="u")
        result = brain.store("I live in Tokyo now", user_id="u", dedupe="semantic").results[0]
        assert (result.event, result.similar) == ("ADD", [])


def test_long_and_empty_questions_and_turns_are_answered(brain: PersonalMemoryBrain) -> None:
    long = "the quick brown fox jumps over the lazy dog " * 22_000  # 200K tokens
    brain.store_messages([{"role": "user", "content": long}, {"role": "user", "content": "short"}], user_id="u")
    assert texts(brain, "lazy fox", top_k=1) == [long]
    assert texts(brain, "what is it that you are", top_k=5), "stop words alone are taken at their word"
    question = "short " + "where does the fox jump " * 2_000  # 10K tokens
    assert set(texts(brain, question)) == {long, "short"}
    assert texts(brain, "short what happened on 31 February 2023") != []


def test_same_key_updates_in_place(brain: PersonalMemoryBrain, embedder: FakeEmbedder) -> None:
    first = brain.store("I live in Tokyo", user_id="u", key="home").results[0]
    assert brain.store("I live in Tokyo", user_id="u", key="home").results[0].event == "NONE"
    calls = embedder.calls
    assert brain.store("I live in Tokyo", user_id="u", key="home", metadata={"a": 1}).results[0].event == "UPDATE"
    assert embedder.calls == calls, "the text is as it was: nothing to encode"
    moved = brain.store("I live in Osaka", user_id="u", key="home").results[0]
    assert (moved.event, moved.id) == ("UPDATE", first.id)
    assert texts(brain, "Tokyo", mode="lexical") == []
    assert texts(brain, "Osaka", mode="lexical") == ["I live in Osaka"]
    assert [entry.version for entry in brain.history(first.id).results] == [1, 2, 3]
    batch = brain.store_batch([{"text": t, "user_id": "u", "key": "new"} for t in ("a b", "c d")]).results
    assert [result.event for result in batch] == ["ADD", "UPDATE"]
    assert brain.get(batch[0].id).text == "c d"


def test_superseded_is_hidden_until_asked_for_or_its_successor_goes(brain: PersonalMemoryBrain) -> None:
    old = only_id(brain, "I live in Tokyo")
    new = only_id(brain, "I live in Osaka", supersedes=old)
    assert texts(brain, "where do I live") == ["I live in Osaka"]
    assert set(texts(brain, "where do I live", include_superseded=True)) == {"I live in Osaka", "I live in Tokyo"}
    assert brain.get(old).superseded_by == new
    assert brain.store("I live in Tokyo", user_id="u").results[0].event == "ADD", "what is past may be said anew"
    brain.delete(new)
    assert brain.get(old).superseded_by is None
    with pytest.raises(InvalidInputError, match="supersedes"):
        brain.store("x", user_id="u", supersedes="nowhere")


def test_what_is_said_again_of_the_same_time_was_known_then(brain: PersonalMemoryBrain) -> None:
    for text in ("I live in Romé", "I live in Rome"):
        brain.store(text, user_id="u", key="home", created_at="2024-01-01T00:00:00Z")
    assert texts(brain, "where do I live", as_of="2024-06-01T00:00:00Z") == ["I live in Rome"]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_batch_ends_as_its_items_one_by_one(brain: PersonalMemoryBrain, at_once: bool) -> None:
    rome = only_id(brain, "I live in Rome")
    home = only_id(brain, "home is Berlin", key="home")
    job = only_id(brain, "I am a baker", key="job")
    items: list[dict[str, Any]] = [
        {"text": "I live in Paris", "supersedes": rome},
        {"text": "I live in Rome"},
        {"text": "we moved out", "supersedes": home},
        {"text": "home is Berlin", "key": "home"},
        {"text": "home is a boat", "key": "boat", "supersedes": job},
        {"text": "I am a sailor", "key": "job", "supersedes": home},
    ]
    for batch in [items] if at_once else [[item] for item in items]:
        brain.store_batch([{"user_id": "u", **item} for item in batch])
    current = {memory.text for memory in brain.list(user_id="u").results}
    assert current == {"I live in Paris", "I live in Rome", "we moved out", "home is a boat", "I am a sailor"}


def test_what_a_batch_superseded_is_not_the_same_as_what_it_says_next(brain: PersonalMemoryBrain) -> None:
    rome = only_id(brain, "I live in Rome")
    batch = [{"text": "I live in Paris", "supersedes": rome}, {"text": "I live in Rome", "dedupe": "semantic"}]
    results = brain.store_batch([{"user_id": "u", **item} for item in batch]).results
    assert [result.event for result in results] == ["ADD", "ADD"]


def test_expired_memories_are_nowhere(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    memory = only_id(brain, "the code is 1234", expires_at="2025-03-01T13:00:00Z")
    assert texts(brain, "code") == ["the code is 1234"]
    clock.advance(hours=1)
    for mode in ("hybrid", "dense", "lexical"):
        assert texts(brain, "code", mode=mode, include_superseded=True) == []
    assert brain.list(user_id="u", include_superseded=True).results == []
    for method in (brain.get, brain.history):
        with pytest.raises(NotFoundError):
            method(memory)
    assert brain.store("the code is 1234", user_id="u").results[0].event == "ADD"


def test_turns_carry_their_speaker_and_their_time(brain: PersonalMemoryBrain) -> None:
    brain.store_messages(
        [
            {"role": "user", "name": "Ann", "content": "I like tea", "created_at": "0001-01-01T00:00:00Z"},
            {"role": "assistant", "content": "Noted", "created_at": "9999-12-31T23:59:59Z"},
        ],
        user_id="u",
    )
    hit = brain.recall("what does Ann like", user_id="u").results[0]
    assert (hit.text, hit.name, hit.role) == ("I like tea", "Ann", "user")
    assert hit.created_at == datetime(1, 1, 1, tzinfo=UTC)
    assert texts(brain, "tea noted", since="9999-12-31T00:00:00Z") == ["Noted"]
    assert texts(brain, "tea noted", until="0001-01-01T00:00:00Z") == ["I like tea"]
    assert [memory.text for memory in brain.list(user_id="u").results] == ["Noted", "I like tea"]


def test_true_and_one_are_two_values(brain: PersonalMemoryBrain) -> None:
    stored = brain.store("x", user_id="u", key="k", metadata={"hot": True, "n": 1}).results[0]
    assert brain.update(stored.id, metadata={"n": 1, "hot": True}).version == 1
    assert brain.update(stored.id, metadata={"hot": 1, "n": 1}).version == 2
    assert brain.store("x", user_id="u", key="k", metadata={"hot": True, "n": 1}).results[0].event == "UPDATE"
    assert brain.get(stored.id).metadata["hot"] is True


def test_update_changes_what_is_given_and_keeps_versions(brain: PersonalMemoryBrain) -> None:
    memory = only_id(brain, "I drink tea", importance=0.5, metadata={"a": 1})
    changed = brain.acting_as("default", "ann").update(memory, text="I drink coffee", importance=None)
    assert (changed.text, changed.importance, changed.metadata, changed.version) == (
        "I drink coffee",
        None,
        {"a": 1},
        2,
    )
    assert texts(brain, "coffee", mode="lexical") == ["I drink coffee"]
    assert texts(brain, "tea", mode="lexical") == []
    history = brain.history(memory).results
    assert [(entry.event, entry.actor, entry.text) for entry in history] == [
        ("ADD", "embedded", "I drink tea"),
        ("UPDATE", "ann", "I drink coffee"),
    ]
    assert brain.update(memory, text="I drink coffee").version == 2
    for fault in ({}, {"text": " "}, {"colour": 1}, {"metadata": None}):
        with pytest.raises(InvalidInputError):
            brain.update(memory, **fault)


def test_pages_hold_every_memory_once(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    for i in range(23):
        brain.store(f"memory {i}", user_id="u", created_at=clock() if i % 3 else "2024-01-01T00:00:00Z")
    seen, cursor = [], None
    while True:
        page = brain.list(user_id="u", limit=5, cursor=cursor)
        seen += [memory.text for memory in page.results]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert sorted(seen) == sorted(f"memory {i}" for i in range(23))
    for other in ({"user_id": "v"}, {"user_id": "u", "agent_id": "a"}):
        with pytest.raises(InvalidInputError, match="cursor"):
            brain.list(cursor=cursor, **other)
    for garbage in ("", "x", "é", "bnVsbA", "W10", "W" * 100_000):
        with pytest.raises(InvalidInputError, match="cursor"):
            brain.list(user_id="u", cursor=garbage)


def test_batch_is_all_or_nothing(brain: PersonalMemoryBrain) -> None:
    with pytest.raises(InvalidInputError) as caught:
        brain.store_batch([{"text": "fine", "user_id": "u"}, {"text": " ", "user_id": "u"}])
    assert caught.value.errors[0].field == "memories.1.text"
    with pytest.raises(InvalidInputError) as caught:
        brain.store_batch([{"text": "fine", "user_id": "u"}, {"text": "x", "user_id": "u", "supersedes": "no"}])
    assert caught.value.errors[0].field == "memories.1.supersedes"
    assert brain.list(user_id="u").results == []


BAD = [
    {"text": ""},
    {"text": " \n\t"},
    {"text": "a" * 10_000_000},
    {"text": "a\ud800"},
    {"text": "a\x00b"},
    {"text": 3},
    {"text": "a", "colour": "red"},
    {"text": "a", "metadata": {"n": float("nan")}},
    {"text": "a", "metadata": [1]},
    {"text": "a", "importance": 2},
    {"text": "a", "created_at": "soon"},
    {"text": "a", "created_at": 17},
    {"text": "a", "user_id": ""},
    {"text": "a", "user_id": "a\nb"},
    {"text": "a", "messages": [{"role": "user", "content": "b"}]},
    {},
]


@pytest.mark.parametrize("fields", BAD, ids=[str(bad)[:50].encode("ascii", "replace").decode() for bad in BAD])
def test_bad_input_is_refused_and_nothing_written(brain: PersonalMemoryBrain, fields: dict[str, Any]) -> None:
    with pytest.raises(MaasError) as caught:
        brain.store(**{"user_id": "u", **fields})
    assert caught.value.status in (413, 422)
    assert caught.value.errors
    assert brain.reindex_status().total == 0


@pytest.mark.parametrize(
    "text", ["שלום עולם", "🎉🎉", "日本語のテスト", "naïve café", "สวัสดีครับ", "नमस्ते दुनिया", "-- ' \" ; \\"]
)
def test_every_script_survives_and_is_found(brain: PersonalMemoryBrain, text: str) -> None:
    memory = only_id(brain, text)
    assert brain.get(memory).text == text
    assert texts(brain, text) == [text]
    if any(character.isalnum() for character in text):
        assert texts(brain, text, mode="lexical") == [text]


@pytest.mark.parametrize("user", ["a/b", "a%2Fb", "..", "a&b=c", "ü 字", "'; DROP TABLE memories; --"])
def test_awkward_user_ids(brain: PersonalMemoryBrain, user: str) -> None:
    brain.store("hello", user_id=user, metadata={user: user})
    assert [hit.text for hit in brain.recall("hello", user_id=user).results] == ["hello"]
    brain.erase_user(user)
    assert brain.list(user_id=user).results == []


@pytest.mark.parametrize("memory_id", ["", "x", "\ud800", "a" * 1000, "../..", "%"])
def test_no_such_memory(brain: PersonalMemoryBrain, memory_id: str) -> None:
    brain.store("x", user_id="u")
    for call in (brain.get, brain.history, brain.delete, lambda i: brain.update(i, text="y")):
        with pytest.raises(NotFoundError):
            call(memory_id)


def test_idempotency_key_acts_once(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    fields: dict[str, Any] = {"user_id": "u", "dedupe": "off", "idempotency_key": "k"}
    first = brain.store("hello", **fields)
    assert brain.store("hello", **fields) == first
    with pytest.raises(IdempotencyConflictError):
        brain.store("other", **fields)
    assert brain.acting_as("elsewhere", "x").store("other", **fields).results[0].event == "ADD"
    assert len(brain.list(user_id="u").results) == 1
    updated = brain.update(first.results[0].id, text="bye", idempotency_key="k2")
    assert brain.update(first.results[0].id, text="bye", idempotency_key="k2") == updated
    clock.advance(hours=25)
    assert brain.store("other", **fields).results[0].event == "ADD"


tenants = st.sampled_from(["t1", "t2"])
people = st.sampled_from(["u1", "u2"])


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(tenants, people, st.sampled_from(["red fish", "blue bird"])), min_size=1, max_size=8))
def test_no_one_sees_what_is_anothers(brain: PersonalMemoryBrain, stored: list[tuple[str, str, str]]) -> None:
    for tenant in ("t1", "t2"):
        for user in ("u1", "u2"):
            brain.acting_as(tenant, "x").erase_user(user)
    owned: dict[str, tuple[str, str]] = {}
    for tenant, user, text in stored:
        result = brain.acting_as(tenant, "x").store(text, user_id=user, dedupe="off").results[0]
        owned[result.id] = (tenant, user)
        assert all(owned[similar.id] == (tenant, user) for similar in result.similar)
    for tenant in ("t1", "t2"):
        view = brain.acting_as(tenant, "x")
        for user in ("u1", "u2"):
            mine = {memory_id for memory_id, owner in owned.items() if owner == (tenant, user)}
            assert {memory.id for memory in view.list(user_id=user).results} == mine
            assert {hit.id for hit in view.recall("red fish blue bird", user_id=user).results} == mine
        for memory_id, owner in owned.items():
            if owner[0] == tenant:
                assert view.get(memory_id).user_id == owner[1]
            else:
                for call in (view.get, view.delete):
                    with pytest.raises(NotFoundError):
                        call(memory_id)


def test_other_users_do_not_change_scores(brain: PersonalMemoryBrain) -> None:
    brain.store_batch([{"text": t, "user_id": "u"} for t in ("red fish", "blue bird", "red tree")])
    before = [(hit.text, hit.score) for hit in brain.recall("red fish", user_id="u").results]
    brain.store_batch([{"text": f"red fish {i}", "user_id": "v"} for i in range(50)])
    assert [(hit.text, hit.score) for hit in brain.recall("red fish", user_id="u").results] == before


def test_erasure_leaves_nothing_in_the_file(brain: PersonalMemoryBrain, settings: Settings) -> None:
    memory = only_id(brain, "zanzibar is my secret", metadata={"k": "xylophone"}, idempotency_key="i")
    brain.update(memory, text="zanzibar was my secret")
    brain.store("stays", user_id="v")
    brain.recall("zanzibar", user_id="u")
    receipt = brain.erase_user("u")
    assert receipt.before["memories"] == receipt.before["memory_terms"] == receipt.before["vectors"] == 1
    assert receipt.before["memory_versions"] == 2
    assert not any(receipt.after.values())
    assert texts(brain, "zanzibar") == []
    assert brain.recall("stays", user_id="v").results
    with pytest.raises(NotFoundError):
        brain.get(memory)
    for file in settings.data_dir.glob("maas.db*"):
        content = file.read_bytes()
        assert b"zanzibar" not in content, "neither in a text nor in the index of words"
        assert b"xylophone" not in content


def test_export_and_import_round_trip(brain: PersonalMemoryBrain, tmp_path: Any, embedder: FakeEmbedder) -> None:
    old = only_id(brain, "I live in Tokyo", metadata={"ü": [1, None]}, importance=0.25, key="home")
    only_id(brain, "I live in Osaka", supersedes=old, expires_at="2999-01-01T00:00:00Z")
    brain.update(old, importance=0.5)
    lines = list(brain.export_user("u"))
    with PersonalMemoryBrain(Settings(data_dir=tmp_path / "copy"), embedder=embedder) as copy:
        calls = embedder.calls
        report = copy.import_memories(lines)
        assert (report.imported, report.skipped, report.reembedded) == (2, 0, 0)
        assert embedder.calls == calls
        assert list(copy.export_user("u"))[1:] == lines[1:]
        assert copy.get(old) == brain.get(old)
        assert copy.history(old) == brain.history(old)
        again = copy.import_memories(lines)
        assert (again.imported, again.skipped) == (0, 2)
        assert copy.import_memories(lines, user_id="w").imported == 2
        assert [copy.get(old, user_id=user).user_id for user in ("u", "w")] == ["u", "w"]
        assert [hit.text for hit in copy.recall("live", user_id="w").results] == ["I live in Osaka"]
        bad = [*lines, {**lines[1], "memory": {**lines[1]["memory"], "text": ""}}]
        with pytest.raises(InvalidInputError, match=r"lines\.3\.memory\.text"):
            copy.import_memories(bad, user_id="x")
        assert copy.list(user_id="x").results == []
    with PersonalMemoryBrain(Settings(data_dir=tmp_path / "other"), embedder=OtherFakeEmbedder()) as other:
        assert other.import_memories(lines).reembedded == 2
        assert [hit.text for hit in other.recall("live", user_id="u").results] == ["I live in Osaka"]


def test_switching_the_embedder(settings: Settings, embedder: FakeEmbedder, clock: FakeClock) -> None:
    with PersonalMemoryBrain(settings, embedder=embedder, clock=clock) as brain:
        brain.store_batch([{"text": f"memory number {i}", "user_id": f"u{i % 2}"} for i in range(150)])
    with PersonalMemoryBrain(settings, embedder=OtherFakeEmbedder(), clock=clock) as brain:
        for mode in ("hybrid", "dense"):
            with pytest.raises(FingerprintMismatchError, match="maas reindex"):
                brain.recall("number 3", user_id="u1", mode=mode)
        assert brain.recall("number 3", user_id="u1", mode="lexical").results
        seen = []

        def meanwhile(status: Any) -> None:
            seen.append(status.done)
            assert brain.recall("number 3", user_id="u1").results, "recall answers throughout"
            with brain._store.read() as transaction:
                done = transaction.coverage(Scope("default", "u1"), brain.embedder.fingerprint).complete
            if not done:  # some of them could not be found, and nobody would know
                with pytest.raises(FingerprintMismatchError, match="wait for it to end"):
                    brain.recall("number 3", user_id="u1", mode="dense")
            with pytest.raises(ConflictError):
                brain.reindex()
            if len(seen) == 1:
                brain.store("written meanwhile", user_id="u0")
            if len(seen) == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            brain.reindex(on_progress=meanwhile)
        assert brain.reindex_status().state == "interrupted"
        status = brain.reindex()
        assert (status.state, status.done, status.total) == ("done", 151, 151)
        assert brain.recall("written meanwhile", user_id="u0").results[0].text == "written meanwhile"
        with brain._store.read() as transaction:
            kept = transaction.export(Scope("default", "u0"))
        assert {tuple(exported.vectors) for exported in kept} == {(brain.embedder.fingerprint,)}


def test_threads_and_a_second_brain_lose_nothing(settings: Settings) -> None:
    with (
        PersonalMemoryBrain(settings, embedder=FakeEmbedder(dim=16)) as first,
        PersonalMemoryBrain(settings, embedder=FakeEmbedder(dim=16)) as second,
    ):
        faults: list[BaseException] = []

        def work(brain: PersonalMemoryBrain, name: str) -> None:
            try:
                for i in range(15):
                    stored = brain.store(f"{name} says {i}", user_id="u").results[0].id
                    hits = brain.recall(f"{name} says {i}", user_id="u", top_k=200).results
                    assert stored in {hit.id for hit in hits}, "one's own write is seen"
            except BaseException as error:  # noqa: BLE001 - carried to the test's thread
                faults.append(error)

        threads = [
            threading.Thread(target=work, args=(brain, f"{i}{name}"))
            for i, brain in enumerate((first, second))
            for name in ("ann", "bob", "cleo")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        for brain in (first, second):
            assert len(brain.recall("says", user_id="u", top_k=200).results) == 90
            assert len(brain.list(user_id="u", limit=200).results) == 90


def test_closing_twice_and_a_folder_that_cannot_be_written(settings: Settings, tmp_path: Any) -> None:
    embedder = FakeEmbedder()
    brain = PersonalMemoryBrain(settings, embedder=embedder)
    view = brain.acting_as("t", "x")
    view.close()
    brain.ready()
    brain.close()
    brain.close()
    assert not embedder.closed, "who opened it closes it"
    with pytest.raises(MaasError, match="closed"):
        brain.store("x", user_id="u")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        PersonalMemoryBrain(Settings(data_dir=tmp_path / "file" / "data"), embedder=embedder)


@pytest.mark.parametrize(
    ("first", "second"),
    [("sixty cats", "seventy cats"), ("eighteen boats", "nineteen boats"), ("a million cells", "a billion cells")],
)
def test_other_numbers_in_words_are_no_twins(first: str, second: str) -> None:
    assert not may_be_twins(f"I have {first}", f"I have {second}")
    assert may_be_twins(f"I have {first}", f"I own {first}")


@pytest.mark.parametrize("dedupe", ["exact", "semantic"])
def test_what_is_said_again_lives_as_long_as_it_was_said_to(
    brain: PersonalMemoryBrain, clock: FakeClock, dedupe: str
) -> None:
    soon, later = clock() + timedelta(hours=1), clock() + timedelta(days=1)
    first = brain.store("meeting at 3", user_id="u", expires_at=later).results[0]
    assert brain.store("meeting at 3", user_id="u", expires_at=soon, dedupe=dedupe).results[0].event == "NONE"
    assert brain.get(first.id).expires_at == later
    again = brain.store("meeting at 3", user_id="u", dedupe=dedupe).results[0]
    assert (again.event, again.id) == ("UPDATE", first.id)
    assert brain.store("meeting at 3", user_id="u", expires_at=soon, dedupe=dedupe).results[0].event == "NONE"
    lunch = {"text": "lunch at 1", "user_id": "u", "dedupe": dedupe}
    brain.store_batch([{**lunch, "expires_at": soon}, lunch])
    clock.advance(days=2)
    assert texts(brain, "meeting")[0] == "meeting at 3"
    assert texts(brain, "lunch")[0] == "lunch at 1"


def test_what_has_expired_does_not_come_back_under_its_key(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    then = clock() + timedelta(minutes=1)
    old = brain.store("secret PIN 1234", user_id="u", key="k", expires_at=clock() + timedelta(hours=1)).results[0]
    clock.advance(hours=2)
    new = brain.store("nothing here", user_id="u", key="k").results[0]
    assert new.event == "ADD"
    assert new.id != old.id
    assert [entry.text for entry in brain.history(new.id).results] == ["nothing here"]
    assert texts(brain, "PIN", as_of=then) == []


def test_a_repetition_replaces_from_now_on(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    brain.store("I live in Tokyo", user_id="u", key="city")
    clock.advance(days=30)
    osaka = only_id(brain, "I live in Osaka")
    clock.advance(days=1)
    between = clock()
    clock.advance(days=30)
    brain.store("I live in Kyoto", user_id="u", key="city", supersedes=osaka)
    assert brain.get(osaka).superseded_at == clock()
    assert "I live in Osaka" in texts(brain, "where do I live", as_of=between)
    assert texts(brain, "where do I live") == ["I live in Kyoto"]


def test_what_is_told_of_the_same_time_in_the_same_words_stays_past(brain: PersonalMemoryBrain) -> None:
    """As when a newer export of another service is imported."""
    told = {"text": "Ana lives in Lima", "user_id": "u", "key": "mem0:1", "created_at": "2024-01-01T00:00:00Z"}
    lima = brain.store(**told).results[0].id
    only_id(brain, "Ana lives in Cusco", supersedes=lima)
    assert brain.store(**told).results[0].event == "NONE"
    assert texts(brain, "where does Ana live") == ["Ana lives in Cusco"]
    assert brain.store(**told | {"created_at": None}).results[0].event == "UPDATE", "said anew"


def test_a_batch_that_prolongs_and_then_changes_a_memory(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    soon, later = clock() + timedelta(hours=1), clock() + timedelta(hours=2)
    batch = [
        {"text": "the code is 1", "key": "k", "expires_at": soon},
        {"text": "the code is 1"},
        {"text": "the code is 2", "key": "k"},
        {"text": "we sail at noon", "dedupe": "semantic", "expires_at": soon},
        {"text": "we sail at noon", "dedupe": "semantic", "expires_at": later},
        {"text": "we sail at noon", "dedupe": "semantic"},
        {"text": "we sail at noon"},
    ]
    results = brain.store_batch([{**item, "user_id": "u"} for item in batch]).results
    assert [result.event for result in results] == ["ADD", "UPDATE", "UPDATE", "ADD", "UPDATE", "UPDATE", "NONE"]
    assert {memory.text for memory in brain.list(user_id="u").results} == {"the code is 2", "we sail at noon"}


def test_what_is_told_again_and_supersedes_is_said_anew(brain: PersonalMemoryBrain) -> None:
    tokyo = {"text": "I live in Tokyo", "user_id": "u", "key": "city", "created_at": "2024-01-01T00:00:00Z"}
    first = brain.store(**tokyo).results[0].id
    osaka = only_id(brain, "I live in Osaka", supersedes=first)
    assert brain.store(**tokyo, supersedes=osaka).results[0].event == "UPDATE"
    assert texts(brain, "where do I live") == ["I live in Tokyo"]


def test_what_has_expired_may_still_be_named_as_superseded(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    old = brain.store("the door is 1", user_id="u", key="door", expires_at=clock() + timedelta(hours=1)).results[0].id
    clock.advance(hours=2)
    brain.store("the door is 2", user_id="u", key="door", supersedes=old)
    assert texts(brain, "door") == ["the door is 2"]
