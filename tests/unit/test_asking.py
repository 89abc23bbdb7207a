"""Turns that ask: how much of a text does, and what that makes of a recall."""

from __future__ import annotations

import itertools
import math
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maas import PersonalMemoryBrain
from maas.recall.asking import ODDS, about_asking, asked_share
from maas.records import SearchHit
from maas.storage.reader import Reader
from maas.storage.turn_table import TurnTable


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("Which team do you support?", 1.0),
        ("The Wolves. I like them!", 0.0),
        ("I like tea. And you?", 8 / 19),
        ("どのチームが好きですか？狼です。", 12 / 16),
        ("ما اسمك؟", 1.0),
        ('She asked: "Are you well?"', 1.0),
        ("see http://example.com/?page=1 for more", 0.0),
        ("Really?! Yes!", 8 / 12),
        ("", 0.0),
        ("?", 1.0),
        (" \n? \n", 1.0),
    ],
)
def test_what_share_of_a_text_asks(text: str, share: float) -> None:
    assert asked_share(text) == pytest.approx(share)


@given(st.text())
def test_a_share_is_a_share(text: str) -> None:
    assert 0 <= asked_share(text) <= 1
    assert asked_share(text.replace("?", "").replace("？", "").replace("؟", "")) == 0


@pytest.mark.parametrize(
    "question", ["What did I ask the doctor?", "Which questions did Ann have?", "I wondered what?"]
)
def test_a_question_may_be_about_what_was_asked(question: str) -> None:
    assert about_asking(question)
    assert not about_asking("What did Ann say?")


TALK = [
    ("Ann", "Hello, how do you do?"),
    ("Bob", "Which basketball team do you support?"),
    ("Ann", "My basketball team is the Wolves"),
    ("Bob", "What a fine evening it is"),
]


def hits(brain: PersonalMemoryBrain, query: str, **options: Any) -> dict[str, SearchHit]:
    return {hit.text: hit for hit in brain.recall(query, user_id="u", explain=True, **options).results}


def tell(brain: PersonalMemoryBrain, *turns: tuple[str, str], role: str = "user") -> None:
    messages = [{"role": "user", "name": name, "content": text} for name, text in turns]
    messages[-1]["role"] = role
    brain.store_messages(messages, user_id="u", session_id="talk")


@pytest.mark.parametrize("mode", ["hybrid", "lexical"])
def test_between_people_what_answers_comes_before_what_asks(brain: PersonalMemoryBrain, mode: str) -> None:
    tell(brain, *TALK)
    found = hits(brain, "which basketball team does Ann support", mode=mode)
    asks, answers = TALK[1][1], TALK[2][1]
    assert list(found).index(answers) < list(found).index(asks)
    explain = found[asks].explain or {}
    assert explain["asks"] == pytest.approx(math.log(ODDS))
    assert (found[answers].explain or {})["asks"] == 0


def test_nothing_is_lowered_where_asking_tells(brain: PersonalMemoryBrain) -> None:
    tell(brain, *TALK)
    question = "which basketball team did Bob ask about"
    assert all("asks" not in (hit.explain or {}) for hit in hits(brain, question).values())
    assert all("asks" not in (hit.explain or {}) for hit in hits(brain, "basketball team", mode="dense").values())


def test_a_layout_that_has_lost_all_rows_meanwhile_lowers_nothing(
    brain: PersonalMemoryBrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a recall meets it when somebody deletes the last memory while it looks."""
    tell(brain, *TALK)
    real, calls = Reader.layout, itertools.count()
    monkeypatch.setattr(Reader, "layout", lambda *of: TurnTable().layout() if next(calls) else real(*of))
    found = hits(brain, "which basketball team does Ann support")
    assert len(found) == len(TALK)
    assert all("asks" not in (hit.explain or {}) for hit in found.values())


@pytest.mark.parametrize("alone", [True, False], ids=["one speaker", "an assistant listens"])
def test_what_is_asked_of_an_assistant_counts_as_told(brain: PersonalMemoryBrain, alone: bool) -> None:
    if alone:
        tell(brain, *[("Ann", text) for _, text in TALK])
    else:
        tell(brain, *TALK, role="assistant")
    brain.store("Can you book a basketball court for Friday?", user_id="u")
    assert all("asks" not in (hit.explain or {}) for hit in hits(brain, "basketball").values())


said = st.lists(st.sampled_from(["tea?", "tea", "I like tea. You?", "green tea? yes", "rain"]), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(said, st.integers(1, 12))
def test_fewer_hits_are_the_first_of_more(brain: PersonalMemoryBrain, texts: list[str], k: int) -> None:
    """Only texts that may still be among the best are read; which these are changes no order."""
    user = uuid.uuid4().hex
    messages = [{"role": "user", "name": ("Ann", "Bob")[i % 2], "content": text} for i, text in enumerate(texts)]
    brain.store_messages(messages, user_id=user, session_id="talk", dedupe="off")
    everything = [hit.id for hit in brain.recall("green tea", user_id=user, top_k=100).results]
    assert [hit.id for hit in brain.recall("green tea", user_id=user, top_k=k).results] == everything[:k]
