"""Time in recall, through the brain: as_of, replaced facts, dates in the question, importance and recency."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from maas import PersonalMemoryBrain, Settings
from maas.settings import RecallSettings
from tests.conftest import FakeClock
from tests.fakes import FakeEmbedder

MODES = ["hybrid", "dense", "lexical"]


def texts(brain: PersonalMemoryBrain, query: str, **fields: Any) -> list[str]:
    return [hit.text for hit in brain.recall(query, user_id="u", **fields).results]


def store(brain: PersonalMemoryBrain, text: str, at: str | None = None, **fields: Any) -> str:
    return brain.store(text, user_id="u", created_at=at, **fields).results[0].id


@pytest.fixture
def moved(brain: PersonalMemoryBrain) -> tuple[str, str]:
    tokyo = store(brain, "I live in Tokyo", "2024-01-01T00:00:00Z")
    return tokyo, store(brain, "I live in Osaka", "2024-06-01T00:00:00Z", supersedes=tokyo)


@pytest.mark.parametrize("mode", MODES)
def test_as_of_is_what_was_known_then(brain: PersonalMemoryBrain, moved: tuple[str, str], mode: str) -> None:
    assert texts(brain, "where do I live", mode=mode) == ["I live in Osaka"]
    assert texts(brain, "where do I live", mode=mode, as_of="2024-03-01T00:00:00Z") == ["I live in Tokyo"]
    assert texts(brain, "where do I live", mode=mode, as_of="2024-06-01T00:00:00Z") == ["I live in Osaka"]
    assert texts(brain, "where do I live", mode=mode, as_of="2023-12-31T23:59:59Z") == []
    both = texts(brain, "where do I live", mode=mode, include_superseded=True)
    assert sorted(both) == ["I live in Osaka", "I live in Tokyo"]


def test_a_memory_of_the_past_was_not_replaced_yet(brain: PersonalMemoryBrain, moved: tuple[str, str]) -> None:
    old, new = moved
    (hit,) = brain.recall("live", user_id="u", as_of="2024-03-01T00:00:00Z").results
    assert (hit.id, hit.superseded_by, hit.superseded_at) == (old, None, None)
    now = brain.get(old)
    assert now.superseded_by == new
    assert now.superseded_at == brain.get(new).created_at, "in the time of what is remembered"
    assert "superseded" in brain.context("live", user_id="u", max_tokens=400, include_superseded=True).text
    assert "Tokyo" in brain.context("live", user_id="u", max_tokens=400, as_of="2024-03-01T00:00:00Z").text


@pytest.mark.parametrize("mode", MODES)
def test_a_changed_memory_is_found_by_what_it_said(brain: PersonalMemoryBrain, clock: FakeClock, mode: str) -> None:
    memory = store(brain, "the code is zebra", importance=0.2)
    for other in range(5):
        store(brain, f"something else {other}")
    before = clock()
    clock.advance(days=1)
    brain.update(memory, text="the password is walnut", importance=0.9)
    between = clock()
    clock.advance(days=1)
    brain.update(memory, text="forgotten")
    (hit, *_) = brain.recall("zebra code", user_id="u", mode=mode, as_of=before).results
    assert (hit.text, hit.importance, hit.version, hit.updated_at) == ("the code is zebra", 0.2, 1, before)
    assert texts(brain, "walnut password", mode=mode, as_of=between)[0] == "the password is walnut"
    assert texts(brain, "walnut", mode=mode, as_of=between, top_k=1) == ["the password is walnut"]
    assert texts(brain, "forgotten", mode=mode)[0] == "forgotten"
    if mode == "lexical":
        assert texts(brain, "forgotten", mode=mode, as_of=between) == []
        assert texts(brain, "zebra", mode=mode) == []


def test_a_key_replaced_with_a_later_date_keeps_its_past(brain: PersonalMemoryBrain) -> None:
    memory = store(brain, "home is Tokyo", "2024-01-01T00:00:00Z", key="home")
    store(brain, "home is Osaka", "2024-06-01T00:00:00Z", key="home")
    assert texts(brain, "home", as_of="2024-03-01T00:00:00Z") == ["home is Tokyo"]
    assert texts(brain, "home", as_of="2024-07-01T00:00:00Z") == ["home is Osaka"]
    assert texts(brain, "home", as_of="2023-07-01T00:00:00Z") == []
    since = [f"{entry.valid_from:%Y-%m}" for entry in brain.history(memory).results]
    assert since == ["2024-01", "2024-06"]
    lines = list(brain.export_user("u"))
    brain.erase_user("u")
    brain.import_memories(lines)
    assert texts(brain, "home", as_of="2024-03-01T00:00:00Z") == ["home is Tokyo"]


def test_as_of_knows_who_spoke(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    said = {"role": "user", "name": "Melanie", "content": "I paint lakes"}
    memory = brain.store(messages=[said], user_id="u").results[0].id
    before = clock()
    clock.advance(days=1)
    asked = "What does Melanie paint"
    now = brain.recall(asked, user_id="u").results[0].score
    brain.update(memory, text="I draw hills")
    then = brain.recall(asked, user_id="u", as_of=before).results[0]
    assert then.text == "I paint lakes"
    assert then.score > now / 2


def test_what_changed_but_its_text_is_found_by_its_text_without_encoding(
    brain: PersonalMemoryBrain, clock: FakeClock, embedder: FakeEmbedder
) -> None:
    memory = store(brain, "the boat is red", importance=0.1)
    then = clock()
    clock.advance(days=1)
    brain.update(memory, importance=0.9, metadata={"a": 1})
    before = embedder.calls
    (hit,) = brain.recall("boat", user_id="u", as_of=then).results
    assert (hit.text, hit.importance, hit.metadata, hit.version) == ("the boat is red", 0.1, {}, 1)
    assert embedder.calls == before + 1, "the question"


@pytest.mark.parametrize("mode", MODES)
def test_as_of_holds_however_much_has_changed_since(
    brain: PersonalMemoryBrain, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr("maas.recall.past.MAX_ENCODED", 4)
    for at, news in (("2024-01-01T00:00:00Z", "amber"), ("2024-06-01T00:00:00Z", "violet")):
        items = [{"text": f"code{n} is {news}", "user_id": "u", "key": f"k{n}", "created_at": at} for n in range(12)]
        brain.store_batch(items)
    for n in (0, 11):
        assert texts(brain, f"what is code{n}", mode=mode, as_of="2024-03-01T00:00:00Z")[0] == f"code{n} is amber"
    then = texts(brain, "violet", mode=mode, as_of="2024-03-01T00:00:00Z", top_k=12)
    assert not any("violet" in text for text in then)


def test_as_of_brings_back_nothing_that_was_to_be_forgotten(brain: PersonalMemoryBrain, clock: FakeClock) -> None:
    store(brain, "the door code is 1234", "2024-01-01T00:00:00Z", expires_at="2024-02-01T00:00:00Z")
    assert texts(brain, "door code", as_of="2024-01-15T00:00:00Z") == []


@pytest.mark.parametrize("as_of", ["2024-02-30", "soon", 17])
def test_an_as_of_that_is_no_time_is_refused(brain: PersonalMemoryBrain, as_of: Any) -> None:
    from maas.errors import InvalidInputError

    with pytest.raises(InvalidInputError, match="as_of"):
        brain.recall("x", user_id="u", as_of=as_of)


def test_a_date_in_the_question_lifts_its_time_and_hides_nothing(brain: PersonalMemoryBrain) -> None:
    for month in (3, 5, 9):
        store(brain, f"we ate soup number {month}", f"2022-0{month}-10T00:00:00Z")
    response = brain.recall("what soup did we eat in May 2022", user_id="u", explain=True)
    assert response.results[0].text[-1] == "5"
    assert len(response.results) == 3
    (period,) = response.periods
    assert (period.phrase, f"{period.start:%Y-%m-%d}") == ("May 2022", "2022-05-01")
    factors = {hit.text[-1]: (hit.explain or {})["time"] for hit in response.results}
    assert factors["5"] > factors["3"] > factors["9"] > 0
    assert brain.recall("what soup did we eat", user_id="u", explain=True).periods == []


def test_relative_dates_count_from_the_memories_own_time_or_a_given_one(brain: PersonalMemoryBrain) -> None:
    store(brain, "we ate soup", "2022-05-10T00:00:00Z")
    store(brain, "we ate bread", "2022-05-11T12:00:00Z")
    store(brain, "we ate a cake that does not exist", "9999-01-01T00:00:00Z")
    (period,) = brain.recall("what did we eat yesterday", user_id="u").periods
    assert f"{period.start:%Y-%m-%d}" == "2022-05-10", "the day before the newest memory, since that is years ago"
    (period,) = brain.recall("what did we eat yesterday", user_id="u", now="2022-03-03T08:00:00Z").periods
    assert f"{period.start:%Y-%m-%d}" == "2022-03-02"
    (period,) = brain.recall("what did we eat yesterday", user_id="nobody").periods
    assert f"{period.start:%Y-%m-%d}" == "2025-02-28"


@pytest.fixture
def weighing(settings: Settings, embedder: FakeEmbedder, clock: FakeClock) -> Iterator[PersonalMemoryBrain]:
    weights = RecallSettings(recency_weight=1.0, recency_half_life_days=10, importance_weight=1.0, time_weight=0.0)
    chosen = settings.model_copy(update={"recall": weights})
    with closing(PersonalMemoryBrain(chosen, embedder=embedder, clock=clock)) as brain:
        yield brain


def test_recency_and_importance_settle_what_matches_alike(weighing: PersonalMemoryBrain) -> None:
    store(weighing, "soup one", "2024-01-01T00:00:00Z")
    store(weighing, "soup two", "2025-02-28T00:00:00Z")
    store(weighing, "soup six", "2024-01-01T00:00:00Z", importance=1.0)
    store(weighing, "soup ten", "2024-01-01T00:00:00Z", importance=0.0)
    response = weighing.recall("soup yesterday", user_id="u", explain=True)
    assert response.periods == [], "switched off"
    assert [hit.text.split()[1] for hit in response.results][-2:] == ["one", "ten"]
    assert {hit.text.split()[1]: (hit.explain or {})["importance"] for hit in response.results} == {
        "one": 0.0,
        "two": 0.0,
        "six": pytest.approx(math.log(2)),
        "ten": pytest.approx(-math.log(2)),
    }
    assert all(0 <= hit.score <= 1 for hit in response.results)


def test_sessions_out_of_order_are_told_by_their_times(brain: PersonalMemoryBrain) -> None:
    for number, day in ((2, "2024-05-02"), (3, "2024-05-03"), (1, "2024-05-01")):
        brain.store_messages(
            [{"role": "user", "content": f"session {number} turn {turn}"} for turn in (1, 2)],
            user_id="u",
            session_id=str(number),
            created_at=f"{day}T08:00:00Z",
        )
    block = brain.context("session turn", user_id="u", max_tokens=600).text
    assert [line.split("session ")[1][0] for line in block.splitlines()[2:-1]] == ["1", "1", "2", "2", "3", "3"]
    assert texts(brain, "session", as_of="2024-05-01T12:00:00Z", top_k=9) == ["session 1 turn 2", "session 1 turn 1"]
