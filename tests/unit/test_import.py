"""Importing an export: in bounded memory, all or none."""

from __future__ import annotations

import base64
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from maas import PersonalMemoryBrain, importer
from maas.errors import ConflictError, IdempotencyConflictError, InvalidInputError


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "PAGE", 10)


def exported(brain: PersonalMemoryBrain, count: int, **fields: Any) -> list[dict[str, Any]]:
    brain.store_batch([{"user_id": "ana", "text": f"memory {n}", **fields} for n in range(count)])
    lines = list(brain.export_user("ana"))
    brain.erase_user("ana")
    return lines


def copies(line: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """Many memories made from one, each a kilobyte of text."""
    for n in range(count):
        memory = {**line["memory"], "id": f"{line['memory']['id'][:20]}{n:012}", "text": f"{n} " + "padding " * 125}
        history = [{**line["history"][0], "memory_id": memory["id"], "text": memory["text"]}]
        yield {**line, "memory": memory, "history": history}


def test_memory_does_not_grow_with_the_number_of_lines(brain: PersonalMemoryBrain) -> None:
    line = exported(brain, 1)[1]
    peaks = {}
    for user, count in (("warm", 20), ("few", 60), ("many", 400)):
        tracemalloc.start()
        assert brain.import_memories(copies(line, count), user_id=user).imported == count
        peaks[user] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # The lines themselves are more than 2 kB each: 700 kB more.
    assert peaks["many"] - peaks["few"] < 250_000, peaks


@pytest.mark.parametrize("place", [1, 14, 25])
def test_one_bad_line_anywhere_leaves_nothing(brain: PersonalMemoryBrain, place: int) -> None:
    lines = exported(brain, 25)
    lines[place] = {**lines[place], "stored_at": "never"}
    with pytest.raises(InvalidInputError, match=rf"lines\.{place}\.stored_at"):
        brain.import_memories(lines)
    assert brain.list(user_id="ana").results == []


def test_a_key_taken_in_an_earlier_page_leaves_nothing(brain: PersonalMemoryBrain) -> None:
    lines = exported(brain, 25)
    for number in (2, 22):
        lines[number]["memory"] |= {"key": "mine"}
    with pytest.raises(InvalidInputError, match=r"lines\.22\.memory\.key 'mine' belongs to another memory"):
        brain.import_memories(lines)
    assert brain.list(user_id="ana").results == []


def test_lines_sent_twice_in_one_import_are_skipped(brain: PersonalMemoryBrain) -> None:
    lines = exported(brain, 12)
    bare = [{**line, "vectors": {}} if "memory" in line else line for line in lines]
    report = brain.import_memories([*bare, *lines[1:]])
    assert (report.imported, report.skipped, report.reembedded) == (12, 12, 12)
    assert brain.recall("memory 7", user_id="ana", mode="dense", top_k=1).results[0].text == "memory 7"


def test_a_key_stands_for_these_lines_alone(brain: PersonalMemoryBrain) -> None:
    lines = exported(brain, 12)
    first = brain.import_memories(lines, idempotency_key="k")
    assert brain.import_memories(lines, idempotency_key="k") == first
    with pytest.raises(IdempotencyConflictError):
        brain.import_memories(lines[1:-1], idempotency_key="k")
    brain.store_document("A text to be read. " * 50, user_id="ben")
    documents = list(brain.export_user("ben"))
    brain.import_memories(documents, user_id="cleo", idempotency_key="d")
    documents[1]["document"]["title"] = "another"
    with pytest.raises(IdempotencyConflictError):
        brain.import_memories(documents, user_id="cleo", idempotency_key="d")


def test_an_id_that_two_users_hold_is_changed_for_neither(brain: PersonalMemoryBrain) -> None:
    brain.store("the boat is red", user_id="ana")
    brain.import_memories(list(brain.export_user("ana")), user_id="bob")
    (mine,) = brain.list(user_id="ana").results
    (theirs,) = brain.list(user_id="bob").results
    assert mine.id == theirs.id
    for ask in (brain.get, brain.delete, brain.history, lambda id_: brain.update(id_, text="other")):
        with pytest.raises(ConflictError, match="2 users hold the memory .* name one by user_id"):
            ask(mine.id)
    brain.delete(mine.id, user_id="bob")
    assert brain.list(user_id="bob").results == []
    assert brain.get(mine.id).user_id == "ana"


def test_a_forged_cursor_is_refused(brain: PersonalMemoryBrain) -> None:
    brain.store("the boat is red", user_id="ana")
    for forged in ('["x","2024-01-01T00:00:00+00:00",1e999]', "[]", "1"):
        with pytest.raises(InvalidInputError, match="cursor"):
            brain.list(user_id="ana", cursor=base64.urlsafe_b64encode(forged.encode()).decode())


def test_an_export_that_was_cut_off_is_refused(brain: PersonalMemoryBrain) -> None:
    whole = exported(brain, 25)
    other = [{**whole[0], "user_id": "bob", "memories": 0}]
    for cut in (whole[:-1], [*whole[:5], *other], whole[:1]):
        with pytest.raises(InvalidInputError, match="of the 25 memories .* was cut off"):
            brain.import_memories(cut)
    assert brain.list(user_id="ana").results == []
    assert brain.import_memories(whole[1:9]).imported == 8
    assert brain.import_memories([*whole, *other]).imported == 17


def test_what_a_cut_off_export_replaced_is_not_hidden(brain: PersonalMemoryBrain) -> None:
    old = brain.store("I live in Tokyo", user_id="ana").results[0].id
    brain.store("I live in Osaka", user_id="ana", supersedes=old)
    lines = [line for line in brain.export_user("ana") if "memory" in line]
    brain.erase_user("ana")
    brain.import_memories([line for line in lines if line["memory"]["id"] == old])
    assert [memory.text for memory in brain.list(user_id="ana").results] == ["I live in Tokyo"]
    brain.import_memories(lines)
    assert [memory.text for memory in brain.list(user_id="ana").results] == ["I live in Osaka"]


def test_a_first_version_without_its_time_is_of_the_time_it_was_said(brain: PersonalMemoryBrain) -> None:
    lines = exported(brain, 1, created_at="2024-01-01T00:00:00Z")
    del lines[1]["history"][0]["valid_from"]
    brain.import_memories(lines)
    brain.update(lines[1]["memory"]["id"], text="another text")
    then = brain.recall("memory", user_id="ana", as_of="2024-02-01T00:00:00Z").results
    assert [hit.text for hit in then] == ["memory 0"]


def test_a_version_beyond_the_memorys_own_is_refused(brain: PersonalMemoryBrain) -> None:
    lines = exported(brain, 1)
    lines[1]["history"][0]["version"] = 7
    with pytest.raises(InvalidInputError, match="version 7 of a memory of version 1"):
        brain.import_memories(lines)
