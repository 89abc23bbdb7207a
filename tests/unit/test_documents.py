"""Long texts through the brain: one pass, passages with offsets, resumed where it stopped, gone when deleted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas import PersonalMemoryBrain, Settings
from maas.errors import ConflictError, InvalidInputError, NotFoundError, PayloadTooLargeError
from maas.fields import MAX_DOCUMENT_BYTES
from maas.reading import CHECKPOINT
from maas.recall.passages import LONGEST, passages
from maas.records import Document, Scope
from tests.conftest import FakeClock
from tests.fakes import FakeEmbedder, OtherFakeEmbedder, StreamingFakeEmbedder

CHAPTERS = [
    f"Chapter {n}. The captain of ship {n} wrote about whale {n}. " + "The sea was calm. " * 20 for n in range(200)
]
BOOK = "\n\n".join(CHAPTERS)
SCOPE = Scope("default", "u")


@pytest.fixture
def streaming(settings: Settings, clock: FakeClock) -> Iterator[PersonalMemoryBrain]:
    with PersonalMemoryBrain(settings, embedder=StreamingFakeEmbedder(), clock=clock) as brain:
        yield brain


def rows(brain: PersonalMemoryBrain, document: Document) -> list[Any]:
    with brain._store.read() as transaction:
        kept = transaction.export(SCOPE, limit=10_000)
    own = [one for one in kept if one.memory.document_id == document.id]
    return sorted(own, key=lambda one: one.memory.start or 0)


def vectors(brain: PersonalMemoryBrain, document: Document) -> np.ndarray:
    return np.array([one.vectors[brain.embedder.fingerprint] for one in rows(brain, document)], np.float32)


@given(
    st.text(max_size=3_000)
    | st.lists(st.sampled_from(["a", "word. ", "\n\n", " " * 700, "b" * 700, "。"])).map("".join)
)
def test_passages_lie_end_to_end_and_say_something(text: str) -> None:
    found = list(passages(text))
    assert "".join(text[start:end] for start, end in found) == text
    if text.strip():
        assert all(text[start:end].strip() for start, end in found)
        assert all(len(text[start:end].strip()) <= LONGEST for start, end in found)


@pytest.mark.parametrize("kind", [FakeEmbedder, StreamingFakeEmbedder])
def test_a_book_is_recalled_by_passage(settings: Settings, kind: type[FakeEmbedder]) -> None:
    seen: list[int] = []
    with PersonalMemoryBrain(settings, embedder=kind()) as brain:
        document = brain.store_document(
            BOOK,
            user_id="u",
            title="Moby",
            metadata={"genre": "sea"},
            on_progress=lambda d: seen.append(d.read_passages),
        )
        assert (document.state, document.read_passages) == ("done", document.passages)
        assert document.vector is not None
        assert np.linalg.norm(document.vector) == pytest.approx(1, abs=1e-2)
        assert len(seen) > 2
        assert seen == sorted(seen)
        assert "".join(one.memory.text for one in rows(brain, document)) == BOOK
        (hit, *_) = brain.recall("captain of ship 137 whale", user_id="u", filters={"metadata.genre": "sea"}).results
        assert "ship 137" in hit.text
        assert BOOK[hit.start : hit.end] == hit.text
        assert hit.document_id == hit.session_id == document.id
        assert hit.before is not None
        assert hit.after is not None
        assert hit.before + hit.text + hit.after in BOOK
        assert brain.history(hit.id).results[0].event == "ADD"
        for change in (lambda: brain.update(hit.id, text="x"), lambda: brain.delete(hit.id)):
            with pytest.raises(ConflictError, match="passage of the document"):
                change()
        assert [one.title for one in brain.list_documents(user_id="u").results] == ["Moby"]
        assert brain.store_document(BOOK, user_id="u", title="Moby").id == document.id, "kept once"


def test_a_pass_that_was_cut_off_goes_on_where_it_stopped(
    streaming: PersonalMemoryBrain, settings: Settings, clock: FakeClock
) -> None:
    whole = streaming.store_document(BOOK, user_id="u", title="whole")
    expected = vectors(streaming, whole)

    def stop(document: Document) -> None:
        if document.read_passages > CHECKPOINT:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        streaming.store_document(BOOK, user_id="u", title="cut", on_progress=stop)
    (cut,) = [d for d in streaming.list_documents(user_id="u").results if d.title == "cut"]
    assert cut.state == "interrupted"
    assert 0 < cut.read_passages < cut.passages
    assert streaming.recall("whale 7", user_id="u", session_id=cut.id).results, "what was read is recalled"
    embedder = StreamingFakeEmbedder()
    with PersonalMemoryBrain(settings, embedder=embedder, clock=clock) as later:
        assert [document_id for _, _, document_id in later.unread_documents()] == [cut.id]
        done = later.read_document(cut.id)
        assert done.state == "done"
        assert embedder.passages_read < cut.passages, "nothing is read twice"
        assert vectors(later, done) == pytest.approx(expected, abs=1e-3)
        assert done.vector == pytest.approx(whole.vector, abs=1e-2)
        assert "".join(one.memory.text for one in rows(later, done)) == BOOK


def test_a_state_of_another_encoder_is_not_used(streaming: PersonalMemoryBrain, settings: Settings) -> None:
    document = streaming.add_document(BOOK, user_id="u")
    with pytest.raises(RuntimeError, match="enough"):
        streaming.read_document(document.id, on_progress=fail)
    assert "enough" in str(streaming.get_document(document.id).error)
    with PersonalMemoryBrain(settings, embedder=StreamingFakeEmbedder(name="new")) as other:
        assert other.read_document(document.id).read_passages == document.passages
        other.reindex()
        assert vectors(other, document).shape == (document.passages, 384)
        assert other.recall("captain of ship 3", user_id="u").results


def fail(_document: Document) -> None:
    raise RuntimeError("enough")


def test_one_reader_at_a_time_and_none_after_a_deletion(streaming: PersonalMemoryBrain, clock: FakeClock) -> None:
    document = streaming.add_document(BOOK, user_id="u")

    def meddle(_document: Document) -> None:
        assert streaming.get_document(document.id).state == "reading"
        with pytest.raises(ConflictError, match="being read"):
            streaming.read_document(document.id)
        streaming.delete_document(document.id)

    with pytest.raises(NotFoundError):
        streaming.read_document(document.id, on_progress=meddle)
    assert streaming.list(user_id="u").results == []
    assert streaming.recall("captain", user_id="u").results == []
    with pytest.raises(NotFoundError):
        streaming.get_document(document.id)
    dead = streaming.add_document(BOOK, user_id="u", title="again")
    with streaming._store.write() as transaction:
        transaction.change_document(SCOPE, dead.id, runner="gone", beat_at=clock())
    assert streaming.get_document(dead.id).state == "reading"
    clock.advance(minutes=3)
    assert streaming.get_document(dead.id).state == "interrupted", "a reader that was killed"


def test_erasure_export_and_import_take_documents_along(streaming: PersonalMemoryBrain, settings: Settings) -> None:
    done = streaming.store_document(BOOK[:20_000], user_id="u", title="zanzibar")
    streaming.add_document("zanzibar is unread", user_id="u")
    lines = list(streaming.export_user("u"))
    receipt = streaming.erase_user("u")
    assert (receipt.before["documents"], receipt.before["document_sources"]) == (2, 1)
    assert not any(receipt.after.values())
    for file in settings.data_dir.glob("maas.db*"):
        assert b"zanzibar" not in file.read_bytes()
    streaming.import_memories(lines)
    assert list(streaming.export_user("u"))[1:] == lines[1:]
    assert streaming.get_document(done.id) == done
    (unread,) = [d for d in streaming.list_documents(user_id="u").results if d.id != done.id]
    assert streaming.read_document(unread.id).state == "done"
    assert streaming.recall("zanzibar", user_id="u").results[0].text == "zanzibar is unread"
    assert streaming.import_memories(lines, user_id="v").imported == done.passages


def test_documents_belong_to_their_user(streaming: PersonalMemoryBrain) -> None:
    document = streaming.store_document("a secret of mine", user_id="u", idempotency_key="k")
    assert streaming.store_document("a secret of mine", user_id="u", idempotency_key="k").id == document.id
    for view, user in ((streaming, "v"), (streaming.acting_as("other", "x"), None)):
        for method in (view.get_document, view.delete_document, view.read_document):
            with pytest.raises(NotFoundError):
                method(document.id, user_id=user)
    assert streaming.recall("secret", user_id="v").results == []


def test_an_expired_document_is_stored_anew(streaming: PersonalMemoryBrain, clock: FakeClock) -> None:
    ends = clock() + timedelta(hours=1)
    first = streaming.store_document("the lease of the flat", user_id="u", title="Lease", expires_at=ends)
    clock.advance(hours=2)
    again = streaming.store_document("the lease of the flat", user_id="u", title="Lease")
    assert again.id != first.id
    assert streaming.get_document(again.id).state == "done"
    assert [hit.document_id for hit in streaming.recall("lease", user_id="u").results] == [again.id]
    assert [one.id for one in streaming.list_documents(user_id="u").results] == [again.id]


def test_an_expired_document_is_purged_though_it_was_never_read(
    streaming: PersonalMemoryBrain, clock: FakeClock
) -> None:
    streaming.add_document("the lease of the flat", user_id="u", expires_at=clock() + timedelta(hours=1))
    clock.advance(hours=2)
    assert streaming.unread_documents() == []
    streaming.purge()
    receipt = streaming.erase_user("u")
    assert (receipt.before["documents"], receipt.before["document_sources"]) == (0, 0)


def test_white_space_at_the_end_of_a_long_text_is_looked_for_once() -> None:
    text = "a sentence of some length. " * 40_000
    spans = list(passages(text + " " * 1_000))
    assert spans[-1][1] == len(text) + 1_000
    assert text[spans[-1][0] :].strip()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"vectors": {"space": "a"}}, "no base64"),
        ({"vectors": {"space": "YWJj"}}, "3 bytes; expected finite float16"),
        ({"vectors": {"space": "AHw="}}, "finite float16"),
        ({"document": {"characters": 10**30}}, "characters"),
    ],
)
def test_a_line_of_a_document_that_cannot_be_is_refused(
    streaming: PersonalMemoryBrain, change: dict[str, Any], says: str
) -> None:
    streaming.store_document("the lease of the flat", user_id="u")
    lines = list(streaming.export_user("u"))
    streaming.erase_user("u")
    (place,) = [i for i, line in enumerate(lines) if "document" in line]
    for name, value in change.items():
        lines[place][name] = {**lines[place][name], **value}
    with pytest.raises(InvalidInputError, match=says):
        streaming.import_memories(lines)
    assert streaming.list_documents(user_id="u").results == []


@pytest.mark.parametrize("text", ["", " \n", "a\x00b", "a\ud800"])
def test_bad_documents_are_refused(streaming: PersonalMemoryBrain, text: str) -> None:
    with pytest.raises(InvalidInputError, match="text"):
        streaming.store_document(text, user_id="u")
    assert streaming.list_documents(user_id="u").results == []


def test_a_document_beyond_the_limit_is_refused(streaming: PersonalMemoryBrain) -> None:
    with pytest.raises(PayloadTooLargeError, match="split"):
        streaming.store_document("a" * (MAX_DOCUMENT_BYTES + 1), user_id="u")


def test_pages_of_documents_hold_each_once(streaming: PersonalMemoryBrain) -> None:
    ids = [streaming.store_document(f"text {n}", user_id="u", created_at="2024-01-01T00:00:00Z").id for n in range(5)]
    first = streaming.list_documents(user_id="u", limit=3)
    rest = streaming.list_documents(user_id="u", limit=3, cursor=first.next_cursor)
    assert [one.id for one in first.results + rest.results] == ids
    assert rest.next_cursor is None


def test_switching_the_embedder_embeds_passages_again(settings: Settings) -> None:
    with PersonalMemoryBrain(settings, embedder=StreamingFakeEmbedder()) as brain:
        document = brain.store_document(BOOK[:30_000], user_id="u")
    with PersonalMemoryBrain(settings, embedder=StreamingFakeEmbedder(name="new")) as brain:
        brain.reindex()
        assert brain.recall("captain of ship 3", user_id="u").results[0].document_id == document.id
        again = brain.store_document(BOOK[:30_000], user_id="u", title="read from the start")
        assert vectors(brain, document) == pytest.approx(vectors(brain, again), abs=1e-3), "one pass, here too"
        assert brain.get_document(document.id).vector == pytest.approx(again.vector, abs=1e-3)
    with PersonalMemoryBrain(settings, embedder=OtherFakeEmbedder()) as brain:
        brain.reindex()
        assert len(vectors(brain, document)) == document.passages


def test_a_document_stored_again_lives_as_long_as_it_was_said_to(
    streaming: PersonalMemoryBrain, clock: FakeClock
) -> None:
    lease = {"text": "the lease of the flat", "user_id": "u", "title": "Lease"}
    kept = streaming.store_document(**lease, expires_at=clock() + timedelta(hours=1))
    assert streaming.store_document(**lease).id == kept.id, "not read again"
    assert streaming.store_document(**lease, expires_at=clock() + timedelta(hours=1)).expires_at is None
    clock.advance(hours=2)
    assert [hit.document_id for hit in streaming.recall("lease", user_id="u").results] == [kept.id]
    streaming.add_document("for an hour", user_id="u", expires_at=clock() + timedelta(hours=1))
    clock.advance(hours=2)
    assert [one.id for one in streaming.list_documents(user_id="u").results] == [kept.id]


def test_passages_read_after_a_document_is_prolonged_last_as_long(
    streaming: PersonalMemoryBrain, clock: FakeClock
) -> None:
    ends = clock() + timedelta(hours=1)

    def prolong(document: Document) -> None:
        if document.read_passages <= CHECKPOINT:
            streaming.add_document(BOOK, user_id="u")

    document = streaming.store_document(BOOK, user_id="u", expires_at=ends, on_progress=prolong)
    assert {one.memory.expires_at for one in rows(streaming, document)} == {None}


def test_a_passage_said_again_stays_the_documents(streaming: PersonalMemoryBrain, clock: FakeClock) -> None:
    ends = clock() + timedelta(hours=1)
    streaming.store_document("I live in Osaka now.", user_id="u", expires_at=ends)
    assert streaming.store("I live in Osaka now.", user_id="u", dedupe="semantic").results[0].event == "ADD"
    clock.advance(hours=2)
    streaming.purge()
    assert [hit.document_id for hit in streaming.recall("Osaka", user_id="u").results] == [None]


def test_a_document_that_goes_leaves_what_its_passages_replaced(streaming: PersonalMemoryBrain) -> None:
    tokyo = streaming.store("I live in Tokyo", user_id="u").results[0].id
    document = streaming.store_document("I live in Osaka now.", user_id="u")
    same = streaming.store("I live in Osaka now.", user_id="u", dedupe="semantic", supersedes=tokyo).results[0]
    assert streaming.get(same.id).document_id == document.id
    streaming.delete_document(document.id)
    assert [hit.text for hit in streaming.recall("where", user_id="u").results] == ["I live in Tokyo"]


def stop_half_way(document: Document) -> None:
    if document.read_passages > CHECKPOINT:
        raise KeyboardInterrupt


@pytest.fixture
def half(streaming: PersonalMemoryBrain) -> Document:
    with pytest.raises(KeyboardInterrupt):
        streaming.store_document(BOOK, user_id="u", on_progress=stop_half_way)
    return streaming.list_documents(user_id="u").results[0]


def test_an_import_adds_no_passages_to_a_document_that_is_there(
    streaming: PersonalMemoryBrain, half: Document, tmp_path: Path
) -> None:
    with PersonalMemoryBrain(Settings(data_dir=tmp_path / "b"), embedder=StreamingFakeEmbedder()) as other:
        other.import_memories(list(streaming.export_user("u")))
        other.read_document(half.id, user_id="u")
        streaming.read_document(half.id)
        report = other.import_memories(list(streaming.export_user("u")))
        assert (report.imported, report.skipped) == (0, half.passages)
        assert len(rows(other, half)) == half.passages


def test_a_document_that_was_imported_unread_is_found_by_its_id(streaming: PersonalMemoryBrain, tmp_path: Path) -> None:
    unread = streaming.add_document(BOOK, user_id="u")
    with PersonalMemoryBrain(Settings(data_dir=tmp_path / "b"), embedder=StreamingFakeEmbedder()) as other:
        other.import_memories(list(streaming.export_user("u")))
        assert other.get_document(unread.id).passages == unread.passages
        assert other.store_document(BOOK, user_id="u").id == unread.id


def test_half_a_document_gives_no_vector_of_the_whole(half: Document, settings: Settings, tmp_path: Path) -> None:
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as other:
        assert other.read_document(half.id).vector is None
        other.reindex()
        whole = other.get_document(half.id).vector
    with PersonalMemoryBrain(Settings(data_dir=tmp_path / "c"), embedder=FakeEmbedder()) as fresh:
        assert whole == pytest.approx(fresh.store_document(BOOK, user_id="u").vector, abs=1e-2)
