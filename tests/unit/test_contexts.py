"""Vectors of turns that have read the turns around them, through the brain's public methods."""

from __future__ import annotations

import base64
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maas import PersonalMemoryBrain, Settings
from maas.cli.connect import LazyEmbedder
from maas.contexts import context_space
from maas.errors import InvalidInputError
from maas.recall.windows import WINDOW_TERMS, packed
from maas.records import Scope
from maas.storage.opening import open_store
from maas.storage.values import SessionTurn
from tests.fakes import ContextualFakeEmbedder, FakeEmbedder

START = datetime(2025, 3, 1, tzinfo=UTC)
TALK = [
    "Have you seen the giraffe?",
    "Yes, yesterday.",
    "It ate an acacia.",
    "All of it?",
    " ".join(f"word{i}" for i in range(WINDOW_TERMS)),
    "Goodbye then.",
    "See you at the zoo.",
]
Make = Callable[..., PersonalMemoryBrain]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    opened: list[PersonalMemoryBrain] = []

    def make(embedder: FakeEmbedder | None = None, folder: str | None = None) -> PersonalMemoryBrain:
        place = tmp_path / (folder or str(len(opened)))
        opened.append(PersonalMemoryBrain(Settings(data_dir=place), embedder=embedder or ContextualFakeEmbedder()))
        return opened[-1]

    yield make
    for brain in opened:
        brain.close()


def talk(texts: list[str], start: int = 0) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": text, "created_at": START + timedelta(minutes=start + i)}
        for i, text in enumerate(texts)
    ]


def contexts(brain: PersonalMemoryBrain) -> dict[str, NDArray[np.float32] | None]:
    """The vector in context of each memory's text, as exported."""
    space = context_space(brain.embedder)
    found: dict[str, NDArray[np.float32] | None] = {}
    for line in brain.export_user("u"):
        if "memory" in line:
            packed_ = line["vectors"].get(space)
            vector = None if packed_ is None else np.frombuffer(base64.b64decode(packed_), "<f2").astype(np.float32)
            found[line["memory"]["text"]] = vector
    return found


def same(first: PersonalMemoryBrain, second: PersonalMemoryBrain) -> None:
    mine, theirs = contexts(first), contexts(second)
    assert mine.keys() == theirs.keys()
    for text, vector in mine.items():
        other = theirs[text]
        assert (vector is None) == (other is None), text
        if vector is not None and other is not None:
            assert float(vector @ other) == pytest.approx(1, abs=2e-3), text


def test_an_answer_is_found_by_the_meaning_of_its_question(make: Make) -> None:
    brain = make()
    brain.store_messages(talk(TALK[:2]), user_id="u", session_id="s")
    brain.store("I slept badly.", user_id="u")
    hits = brain.recall("the giraffe", user_id="u", mode="dense", explain=True).results
    assert [hit.text for hit in hits] == [*TALK[:2], "I slept badly."]
    parts = [hit.explain or {} for hit in hits]
    assert parts[1]["context"] > 6 * max(parts[1]["dense"], 0.01)
    assert parts[2]["context"] == pytest.approx(5 * parts[2]["dense"]), "without neighbours its own vector stands in"


def test_turn_by_turn_gives_what_one_call_gives(make: Make) -> None:
    at_once, stepwise = make(), make()
    at_once.store_messages(talk(TALK), user_id="u", session_id="s")
    for i, text in enumerate(TALK):
        stepwise.store_messages(talk([text], i), user_id="u", session_id="s")
        stepwise.store(f"Meanwhile {i}", user_id="u", session_id="other", created_at=START)
    for memory in stepwise.list(user_id="u", session_id="other").results:
        stepwise.delete(memory.id)
    same(at_once, stepwise)
    assert [text for text, vector in contexts(at_once).items() if vector is None] == [TALK[4]], "no room beside it"


def test_appending_reads_the_open_window_alone(make: Make) -> None:
    embedder = ContextualFakeEmbedder()
    brain = make(embedder)
    brain.store_messages(talk(TALK), user_id="u", session_id="s")
    embedder.passes.clear()
    brain.store_messages(talk(["Wait for me."], 9), user_id="u", session_id="s")
    assert embedder.passes == [[*TALK[5:], "Wait for me."]]


def test_what_changes_no_words_reads_nothing_again(make: Make) -> None:
    embedder = ContextualFakeEmbedder()
    brain = make(embedder)
    turn = {"text": TALK[0], "user_id": "u", "session_id": "s", "key": "k", "created_at": START}
    ids = [brain.store(**turn).results[0].id]
    brain.store_messages(talk(TALK[1:], 1), user_id="u", session_id="s")
    embedder.passes.clear()
    brain.store(**turn, metadata={"a": 1})
    brain.update(ids[0], importance=0.5)
    assert embedder.passes == []
    brain.delete(ids[0])
    assert embedder.passes == [TALK[1:4]], "the windows behind are the same"


def test_a_turn_told_late_takes_its_place_by_time(make: Make) -> None:
    in_order, late = make(), make()
    in_order.store_messages(talk(TALK[:3]), user_id="u", session_id="s")
    late.store_messages(talk(TALK[1:3], 1), user_id="u", session_id="s")
    late.store_messages(talk(TALK[:1]), user_id="u", session_id="s")
    same(in_order, late)


@pytest.mark.parametrize("how", ["delete", "update"])
def test_no_trace_of_what_was_said_stays_in_its_neighbours(make: Make, how: str) -> None:
    never, changed = make(), make()
    ids = [r.id for r in changed.store_messages(talk(TALK), user_id="u", session_id="s").results]
    if how == "delete":
        changed.delete(ids[1])
        changed.delete(ids[5])
        rest = [TALK[0], *TALK[2:5], TALK[6]]
    else:
        changed.update(ids[1], text="No, never.")
        rest = [TALK[0], "No, never.", *TALK[2:]]
    messages = [m for m in talk(TALK) if m["content"] in rest] if how == "delete" else talk(rest)
    never.store_messages(messages, user_id="u", session_id="s")
    same(never, changed)
    question = "the giraffe at the zoo"
    asked = [
        {hit.text: round(hit.score, 3) for hit in brain.recall(question, user_id="u").results}
        for brain in (never, changed)
    ]
    assert asked[0] == asked[1]


def test_rerank_looks_at_words_and_says_so(make: Make) -> None:
    brain = make()
    for i in range(5):
        brain.store(f"The zoo has animals, for example number {i}.", user_id="u")
    brain.store_messages(talk(TALK), user_id="u", session_id="s")
    plain = brain.recall("which giraffe was seen", user_id="u", top_k=20, explain=True).results
    again = brain.recall("which giraffe was seen", user_id="u", top_k=20, explain=True, rerank=True).results
    assert again[0].text == TALK[0]
    assert {hit.id for hit in plain} == {hit.id for hit in again}
    parts = [(hit.explain or {})["rerank"] for hit in again]
    assert max(parts) == parts[0] > 0 > min(parts)
    assert again[0].score > plain[0].score
    assert brain.recall("giraffe", user_id="nobody", rerank=True).results == []
    assert brain.recall("who is it", user_id="u", rerank=True, mode="lexical", mmr=True).results
    with pytest.raises(InvalidInputError, match="rerank: needs an encoder"):
        make(FakeEmbedder()).recall("giraffe", user_id="u", rerank=True)


def test_repetitions_and_turns_without_speaker_or_time(make: Make) -> None:
    brain = make()
    messages = [{"role": "user", "content": text} for text in ("ok", "the giraffe", "ok")]
    events = [r.event for r in brain.store_messages(messages, user_id="u", session_id="s").results]
    assert events == ["ADD", "ADD", "NONE"]
    again = brain.store_messages(messages, user_id="u", session_id="s", dedupe="off").results
    assert [r.event for r in again] == ["ADD"] * 3
    assert all(vector is not None for vector in contexts(brain).values())
    assert len(brain.recall("giraffe", user_id="u").results) == 5


class Skimming(ContextualFakeEmbedder):
    """Reads how a text begins, so that a test of what is stored does not wait for the fake."""

    def _vector(self, text: str) -> NDArray[np.float64]:
        return super()._vector(text[:2000])


def test_a_turn_like_a_book_and_a_question_like_a_chapter(make: Make) -> None:
    brain = make(Skimming())
    book = " ".join(f"le{i % 500}" for i in range(140_000))
    brain.store_messages(
        talk(["Read this.", book, "What a long story about the giraffe!"]), user_id="u", session_id="s"
    )
    assert [vector is None for vector in contexts(brain).values()] == [True] * 3, "nobody shares a window with a book"
    chapter = " ".join(f"le{i % 500}" for i in range(7_000))
    for mode in ("hybrid", "dense", "lexical"):
        assert brain.recall(chapter, user_id="u", mode=mode).results[0].text == book
        assert brain.recall("what about the and of it", user_id="u", mode=mode).results, "stop words are all there is"
    assert brain.recall("of", user_id="u", mode="lexical").results == []


def test_export_and_import_keep_them_and_read_nothing_again(make: Make) -> None:
    first, embedder = make(), ContextualFakeEmbedder()
    first.store_messages(talk(TALK), user_id="u", session_id="s")
    second = make(embedder)
    second.import_memories(first.export_user("u"))
    same(first, second)
    assert embedder.passes == []
    bare = ({**line, "vectors": {}} if "vectors" in line else line for line in first.export_user("u"))
    third = make()
    third.import_memories(bare)
    same(first, third)


def test_reindexing_reads_every_session(make: Make) -> None:
    plain = make(FakeEmbedder(name="contextual-fake"), "shared")
    plain.store_messages(talk(TALK), user_id="u", session_id="s")
    plain.store("a fact", user_id="u")
    assert context_space(plain.embedder) is None
    assert plain.recall("giraffe", user_id="u").results
    plain.close()
    brain, expected = make(None, "shared"), make()
    expected.store_messages(talk(TALK), user_id="u", session_id="s")
    expected.store("a fact", user_id="u")
    assert brain.recall("giraffe", user_id="u").results, "until then each turn speaks for itself"
    brain.reindex()
    same(expected, brain)
    brain.reindex()
    same(expected, brain)


def test_writers_of_one_session_end_up_with_what_one_writer_makes(make: Make) -> None:
    brain, alone = make(), make()
    texts = [f"turn number {i} about the giraffe" for i in range(24)]
    alone.store_messages(talk(texts), user_id="u", session_id="s")
    parts = [threading.Thread(target=_say, args=(brain, texts[i::3], i)) for i in range(3)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    assert len(contexts(brain)) == 24
    space = context_space(brain.embedder)
    assert space is not None
    assert sum(vector is not None for vector in contexts(brain).values()) >= 22, "a lone last turn has none"


def _say(brain: PersonalMemoryBrain, texts: list[str], offset: int) -> None:
    for i, text in enumerate(texts):
        brain.store_messages(talk([text], 3 * i + offset), user_id="u", session_id="s")


def test_windows_hold_whole_turns_up_to_their_size() -> None:
    lengths = [100, 60, 9, WINDOW_TERMS + 1, WINDOW_TERMS, 1]
    turns = [SessionTurn(i, str(i), 1, length, embedded=False) for i, length in enumerate(lengths)]
    assert [[turn.seq for turn in window] for window in packed(turns)] == [[0, 1], [2], [3], [4], [5]]
    assert list(packed([])) == []


def test_an_embedder_that_is_loaded_late_reads_in_context_like_the_one_it_stands_for(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the command line stores and deletes has vectors in context like what a server does."""
    inner = ContextualFakeEmbedder()
    monkeypatch.setattr("maas.embedders.factory.build_embedder", lambda _settings: inner)
    late = LazyEmbedder(Settings(data_dir=tmp_path))
    assert context_space(late) == context_space(inner)
    with PersonalMemoryBrain(Settings(data_dir=tmp_path / "late"), embedder=late) as brain:
        brain.store_messages(talk(TALK[:3]), user_id="u", session_id="s")
    assert inner.passes
    assert context_space(FakeEmbedder()) is None


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_each_turn_has_read_the_window_it_stands_in(make: Make, seed: int) -> None:
    drawn, embedder = random.Random(seed), ContextualFakeEmbedder()
    brain = make(embedder, "one")
    ids: list[str] = []

    def turn(step: int) -> dict[str, Any]:
        minute = step if drawn.random() < 0.6 else drawn.randrange(100)
        words = " ".join(drawn.choices(TALK[4].split(), k=drawn.choice((3, 20, 60, WINDOW_TERMS))))
        at = START + timedelta(minutes=minute)
        return {"user_id": "u", "text": f"{words} {step}", "session_id": drawn.choice("st"), "created_at": at}

    for step in range(90):
        what = drawn.choice(("store", "store", "store", "batch", "key", "delete", "update"))
        if what == "store":
            ids.append(brain.store(**turn(step)).results[0].id)
        elif what == "batch":
            batch = [turn(step + 100 * n) | {"key": drawn.choice("abcxyz")} for n in range(12)]
            brain.store_batch(batch)
            ids += [r.id for r in brain.store_batch([turn(step + 100 * n) for n in (1, 2, 3)]).results]
        elif what == "key":
            brain.store(**turn(step), key=drawn.choice("xyz"))
        elif what == "delete" and ids:
            brain.delete(ids.pop(drawn.randrange(len(ids))))
        elif what == "update" and ids:
            brain.update(drawn.choice(ids), text=turn(step)["text"])
    found, scope, space = contexts(brain), Scope("default", "u"), context_space(embedder)
    assert space is not None
    with closing(open_store(Settings(data_dir=brain.settings.data_dir))) as store, store.read() as transaction:
        for session in "st":
            for window in packed(transaction.session_turns(scope, session, space)):
                rows = transaction.by_seq(scope, [turn.seq for turn in window])
                texts = [rows[turn.seq].text for turn in window]
                read = embedder.encode_in_context(texts, 512) if len(texts) > 1 else [None]
                for text, vector in zip(texts, read, strict=True):
                    kept = found[text]
                    assert (kept is None) == (vector is None), (session, text)
                    assert kept is None or float(kept @ vector) == pytest.approx(1, abs=2e-3), (session, text)
