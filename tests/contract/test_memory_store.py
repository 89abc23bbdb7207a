"""What every MemoryStore promises; a further database joins by adding its settings here."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from maas.recall.analysis import document_terms
from maas.recall.windows import packed
from maas.records import ApiKey, Memory, Scope
from maas.storage.opening import open_store
from maas.storage.protocol import MemoryStore, WriteTransaction
from maas.storage.values import NewMemory, Remembered, Replacement, Session, Where
from maas.storing import version_entry
from tests.fakes import FakeEmbedder

NOW = datetime(2025, 3, 1, tzinfo=UTC)
ANN, BOB = Scope("t", "ann"), Scope("t", "bob")
EMBEDDER = FakeEmbedder(dim=32)
SPACE = EMBEDDER.fingerprint

SETTINGS = {"sqlite": "settings", "postgresql": "postgres_settings"}


@pytest.fixture(params=sorted(SETTINGS))
def store(request: pytest.FixtureRequest) -> Iterator[MemoryStore]:
    store = open_store(request.getfixturevalue(SETTINGS[request.param]))
    yield store
    store.close()


def row(transaction: WriteTransaction, scope: Scope, text: str, number: int, **fields: object) -> NewMemory:
    values: dict[str, object] = {"created_at": NOW + timedelta(minutes=number), "updated_at": NOW, **fields}
    memory = Memory(
        id=f"{transaction.tag(scope)}{number:026d}",
        user_id=scope.user_id,
        text=text,
        **values,  # type: ignore[arg-type]
    )
    return NewMemory(
        memory=memory,
        text_hash=text.encode(),
        terms=document_terms(text),
        vector=EMBEDDER.encode([text])[0],
        stored_at=NOW,
        history=[version_entry(memory, "ADD", NOW, "test")],
    )


def fill(store: MemoryStore, scope: Scope, *texts: str, **fields: object) -> list[str]:
    with store.write() as transaction:
        start = transaction.coverage(scope, SPACE).memories
        rows = [row(transaction, scope, text, start + i, **fields) for i, text in enumerate(texts)]
        transaction.insert(SPACE, {scope: rows})
        return [new.memory.id for new in rows]


def found(store: MemoryStore, scope: Scope, query: str, where: Where | None = None) -> tuple[list[str], list[str]]:
    where = where or Where(now=NOW)
    with store.read() as transaction:
        near = transaction.dense(scope, SPACE, EMBEDDER.encode([query]), 10, where)[0]
        words = transaction.lexical(scope, document_terms(query), 10, where)
        rows = transaction.by_seq(scope, [*near.seqs.tolist(), *words.seqs.tolist()])
        assert all(0 < score < 1 for score in words.scores)
        return [rows[s].text for s in near.seqs.tolist()], [rows[s].text for s in words.seqs.tolist()]


def test_what_a_change_touches_of_a_long_session_is_planned_as_in_the_whole(store: MemoryStore) -> None:
    minutes = [(7 * number) % 300 // 3 for number in range(400)]  # out of order, and many at one time
    with store.write() as transaction:
        rows = [
            row(transaction, ANN, f"turn {number}", number, session_id="s", created_at=NOW + timedelta(minutes=minute))
            for number, minute in enumerate(minutes)
        ]
        transaction.insert(SPACE, {ANN: rows})
    with store.read() as transaction:
        whole = transaction.session_turns(ANN, "s", SPACE)
        windows = list(packed(whole))
        at = {one.memory.id: one.memory.created_at for one in rows}
        for turn in [whole[0], whole[-1], *whole[:: len(whole) // 25]]:
            around = transaction.created_between(ANN, [turn.id])
            assert around == (at[turn.id], at[turn.id])
            near = transaction.session_turns(ANN, "s", SPACE, around)
            start = whole.index(near[0])
            assert near == whole[start : start + len(near)]
            assert turn in near
            assert set(packed(near)) <= set(windows)
            assert len(near) < 250
        everything = transaction.created_between(ANN, list(at))
        assert transaction.session_turns(ANN, "s", SPACE, everything) == whole
        assert transaction.created_between(ANN, ["nobody"]) is None
        assert transaction.created_between(BOB, list(at)) is None


def test_a_write_that_fails_leaves_nothing(store: MemoryStore) -> None:
    def fails_after_writing() -> None:
        with store.write() as transaction:
            transaction.insert(SPACE, {ANN: [row(transaction, ANN, "red fish", 1)]})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails_after_writing()
    assert found(store, ANN, "red fish") == ([], [])
    with store.read() as transaction:
        assert transaction.revisions([ANN]) == {ANN: 0}


def test_both_searches_see_only_the_scope(store: MemoryStore) -> None:
    fill(store, ANN, "red fish", "blue bird")
    fill(store, BOB, "red fish too")
    dense, lexical = found(store, ANN, "red fish")
    assert dense == ["red fish", "blue bird"]
    assert lexical == ["red fish"]
    assert found(store, Scope("other", "ann"), "red fish") == ([], [])


def test_rows_are_read_for_their_owner_alone(store: MemoryStore) -> None:
    fill(store, ANN, "red fish", "blue bird")
    fill(store, BOB, "red fish too")
    with store.read() as transaction:
        layouts = {scope: transaction.layout(scope).seqs.tolist() for scope in (ANN, BOB)}
        everything = [*layouts[ANN], *layouts[BOB], 10**9]
        for scope, said in ((ANN, ["red fish", "blue bird"]), (BOB, ["red fish too"])):
            assert transaction.texts(scope, everything) == dict(zip(layouts[scope], said, strict=True))
            assert transaction.ids(scope, everything).keys() == set(layouts[scope])
            assert transaction.by_seq(scope, everything).keys() == set(layouts[scope])
        assert transaction.texts(ANN, []) == {}


def test_where_narrows_both_searches_and_pages(store: MemoryStore) -> None:
    fill(store, ANN, "red one", "red two", agent_id="a")
    old, new = fill(store, ANN, "red three", "red four", agent_id="b")
    fill(store, ANN, "red gone", expires_at=NOW)
    with store.write() as transaction:
        transaction.supersede(ANN, old, new, NOW, NOW)
    cases = {
        Where(now=NOW): {"red one", "red two", "red four"},
        Where(now=NOW, agent_id="a"): {"red one", "red two"},
        Where(now=NOW, agent_id="b", include_superseded=True): {"red three", "red four"},
        Where(now=NOW, since=NOW + timedelta(minutes=1), until=NOW + timedelta(minutes=1)): {"red two"},
        Where(now=NOW - timedelta(days=1), since=NOW + timedelta(minutes=4)): {"red gone"},
    }
    for where, expected in cases.items():
        dense, lexical = found(store, ANN, "red", where)
        with store.read() as transaction:
            paged = [memory.text for _, memory in transaction.page(ANN, where, 10)]
        assert set(dense) == set(lexical) == set(paged) == expected, where


def test_replace_changes_row_vector_words_and_history(store: MemoryStore) -> None:
    (memory_id,) = fill(store, ANN, "red fish")
    with store.write() as transaction:
        before = transaction.get(ANN, memory_id)
        assert before is not None
        after = before.model_copy(update={"text": "blue bird", "version": 2})
        entry = version_entry(after, "UPDATE", NOW, "test")
        vector = EMBEDDER.encode(["blue bird"])[0]
        transaction.replace(ANN, SPACE, Replacement(after, b"h", entry, document_terms("blue bird"), vector))
    assert found(store, ANN, "blue") == (["blue bird"], ["blue bird"])
    assert found(store, ANN, "red")[1] == []
    with store.read() as transaction:
        assert [entry.version for entry in transaction.history(ANN, memory_id)] == [1, 2]
        assert set(transaction.by_hash(ANN, [b"h", b"red fish"], NOW)) == {b"h"}
        assert transaction.coverage(ANN, SPACE).vectors == 1


def test_words_and_vectors_that_are_kept_equal_those_read_anew(
    store: MemoryStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every change, by a store that has been asked all along and by one that has just been opened."""
    monkeypatch.setattr("maas.storage.postings.MOST_CHANGED", 3)
    drawn = random.Random(7)
    settings = request.getfixturevalue(SETTINGS["sqlite" if type(store).__name__ == "SqliteStore" else "postgresql"])
    terms = document_terms("red fish blue bird")

    def text() -> str:
        return " ".join(drawn.choices(("red", "fish", "blue", "bird", "tree"), k=drawn.randint(1, 6)))

    def shown(asked: MemoryStore, query: list[str]) -> tuple[object, ...]:
        with asked.read() as transaction:
            words = transaction.lexical(ANN, query, 50, Where(now=NOW))
            near = transaction.dense(ANN, SPACE, EMBEDDER.encode([" ".join(query)]), 50, Where(now=NOW))[0]
            by_seq = sorted(zip(near.seqs.tolist(), near.scores.round(5).tolist(), strict=True))
            return words.seqs.tolist(), words.scores.tolist(), words.evidence.weights, by_seq

    def add(count: int) -> list[str]:
        with store.write() as transaction:
            rows = [row(transaction, ANN, text(), next(numbers), session_id="s") for _ in range(count)]
            transaction.insert(SPACE, {ANN: rows})
        return [new.memory.id for new in rows]

    def roll_back() -> None:
        with store.write() as transaction:
            transaction.insert(SPACE, {ANN: [row(transaction, ANN, "red red", next(numbers))]})
            transaction.lexical(ANN, terms, 50, Where(now=NOW))
            transaction.dense(ANN, SPACE, EMBEDDER.encode(["red"]), 50, Where(now=NOW))
            raise ZeroDivisionError

    numbers = itertools.count()
    ids = add(6)
    for step in range(24):
        change = drawn.choice(("add", "add", "add many", "replace", "delete", "supersede", "roll back"))
        if change.startswith("add"):
            ids += add(5 if change == "add many" else 1)
        elif change == "replace":
            with store.write() as transaction:
                before = transaction.get(ANN, drawn.choice(ids))
                assert before is not None
                new = text()
                after = before.model_copy(update={"text": new, "version": before.version + 1})
                entry = version_entry(after, "UPDATE", NOW, "test")
                vector = EMBEDDER.encode([new])[0]
                transaction.replace(ANN, SPACE, Replacement(after, new.encode(), entry, document_terms(new), vector))
        elif change == "delete":
            with store.write() as transaction:
                transaction.delete(ANN, ids.pop(drawn.randrange(len(ids))))
        elif change == "supersede":
            with store.write() as transaction:
                transaction.supersede(ANN, drawn.choice(ids[:-1]), ids[-1], NOW, NOW)
        else:
            with pytest.raises(ZeroDivisionError):
                roll_back()
        with closing(open_store(settings)) as fresh:
            # Not every term is asked for at every step, so that some have more to catch up with.
            for query in (terms, drawn.sample(terms, 2)) if step % 3 == 0 else (drawn.sample(terms, 2),):
                assert shown(store, query) == shown(fresh, query), (step, change)


def test_delete_removes_every_trace_and_revives(store: MemoryStore) -> None:
    old, new = fill(store, ANN, "red fish", "red bird")
    with store.write() as transaction:
        transaction.supersede(ANN, old, new, NOW, NOW)
    with store.write() as transaction:
        assert not transaction.delete(BOB, new)
        assert transaction.delete(ANN, new)
        assert not transaction.delete(ANN, new)
    assert found(store, ANN, "red") == (["red fish"], ["red fish"])
    with store.read() as transaction:
        assert transaction.history(ANN, new) == []


def test_what_stood_in_the_middle_leaves_the_newest_current(store: MemoryStore) -> None:
    first, second, third = fill(store, ANN, "red fish", "red bird", "red tree")
    later = NOW + timedelta(days=1)
    with store.write() as transaction:
        transaction.supersede(ANN, first, second, NOW, NOW)
        transaction.supersede(ANN, second, third, later, later)
    with store.write() as transaction:
        transaction.delete(ANN, second)
    assert found(store, ANN, "red") == (["red tree"], ["red tree"])
    with store.read() as transaction:
        memory = transaction.get(ANN, first)
    assert memory is not None
    assert (memory.superseded_by, memory.superseded_at) == (third, later)
    with store.write() as transaction:
        transaction.delete(ANN, third)
    assert found(store, ANN, "red") == (["red fish"], ["red fish"])


def test_erase_counts_and_spares_others(store: MemoryStore) -> None:
    fill(store, ANN, "red fish", "red bird")
    fill(store, BOB, "red tree")
    with store.write() as transaction:
        transaction.remember("t", "k", {"ann"}, Remembered(b"h", {"a": 1}), NOW, NOW)
        before, after = transaction.erase(ANN)
    assert before["memories"] == before["vectors"] == before["memory_terms"] == before["memory_versions"] == 2
    assert not any(after.values())
    assert found(store, ANN, "red") == ([], [])
    assert found(store, BOB, "red")[1] == ["red tree"]
    with store.read() as transaction:
        assert transaction.remembered("t", "k", NOW) is None
        assert [scope.user_id for scope in transaction.users()] == ["bob"]


def test_a_second_space_is_filled_and_the_first_dropped(store: MemoryStore) -> None:
    fill(store, ANN, "red fish", "blue bird")
    other = "other-space"
    with store.write() as transaction:
        rows = transaction.unembedded(ANN, other, 10)
        vectors = EMBEDDER.encode([missing.memory.text for missing in rows])
        stale = [(rows[0].__class__(rows[0].seq, rows[0].memory.model_copy(update={"version": 9})), vectors[0])]
        assert transaction.add_vectors(ANN, other, stale) == 0
        assert transaction.add_vectors(ANN, other, [(rows[0], vectors[0])]) == 1
        transaction.drop_other_spaces(ANN, other)
        assert transaction.coverage(ANN, SPACE).complete, "not before the new space is complete"
        assert transaction.add_vectors(ANN, other, list(zip(rows, vectors, strict=True))) == 1
        transaction.drop_other_spaces(ANN, other)
        assert transaction.coverage(ANN, SPACE).vectors == 0
        assert transaction.progress(other).complete
        assert transaction.unembedded(ANN, other, 10) == []


def test_similarities_are_cosines_and_nan_where_there_is_no_vector(store: MemoryStore) -> None:
    fill(store, ANN, "red fish", "blue bird")
    query = EMBEDDER.encode(["red fish"])[0]
    with store.read() as transaction:
        seqs = np.array([seq for seq, _ in transaction.page(ANN, Where(now=NOW), 10)] + [999], np.int64)
        cosines = transaction.similarities(ANN, SPACE, query, seqs)
    expected = EMBEDDER.encode(["blue bird", "red fish"]) @ query
    assert cosines[:2] == pytest.approx(expected, abs=2e-3)
    assert np.isnan(cosines[2])


def test_keys_and_remembered_answers_belong_to_a_tenant(store: MemoryStore) -> None:
    key = ApiKey(id="k", tenant="t", name="n", scopes=["read"], created_at=NOW)
    with store.write() as transaction:
        transaction.add_api_key(key, b"s")
        transaction.remember("t", "i", {"ann"}, Remembered(b"h", [1]), NOW, NOW - timedelta(days=1))
    with store.write() as transaction:
        assert transaction.api_key("k") == (key, b"s")
        assert transaction.api_keys("other") == []
        assert transaction.revoke_api_key("other", "k", NOW) is None
        assert transaction.remembered("other", "i", NOW) is None
        assert transaction.remembered("t", "i", NOW) == Remembered(b"h", [1])
        assert transaction.remembered("t", "i", NOW + timedelta(seconds=1)) is None


def test_times_and_importances_come_in_the_order_asked(store: MemoryStore) -> None:
    fill(store, ANN, "one", "two", "three")
    with store.read() as transaction:
        seqs = np.array([seq for seq, _ in transaction.page(ANN, Where(now=NOW), 10)], np.int64)
        assert not transaction.any_importance(ANN)
        assert np.isnan(transaction.traits(ANN, seqs).importance).all()
        before = dict(zip(seqs, transaction.traits(ANN, seqs).created, strict=True))
        shuffled = seqs[[1, 2, 0]]
        assert transaction.traits(ANN, shuffled).created.tolist() == [before[seq] for seq in shuffled]
        assert len(transaction.traits(ANN, seqs[:0]).created) == 0
        newer = transaction.traits(ANN, np.append(seqs, max(seqs) + 1_000))  # of a snapshot that this one lacks
        assert newer.created.tolist() == [*(before[seq] for seq in seqs), 0]
        assert np.isnan(newer.importance[-1])
        nobody = transaction.traits(Scope("t", "nobody"), np.array([1, 2]))
        assert (nobody.created.tolist(), np.isnan(nobody.importance).all()) == ([0, 0], True)
        newest = transaction.latest(ANN, NOW)
        assert newest is not None
        assert newest <= NOW
        assert transaction.latest(ANN, NOW - timedelta(days=9999)) is None
        assert transaction.earlier_versions(ANN, Where(now=NOW, as_of=NOW)) == {}


def test_sessions_are_found_by_their_token_and_dropped(store: MemoryStore) -> None:
    kept, ended = (Session(bytes([n]) * 32, "t", "key", NOW, NOW + timedelta(hours=n)) for n in (2, 1))
    with store.write() as transaction:
        transaction.add_session(kept)
        transaction.add_session(ended)
        assert transaction.drop_sessions(NOW + timedelta(hours=1)) == 1
    with store.read() as transaction:
        assert transaction.session(kept.token_sha256) == kept
        assert transaction.session(ended.token_sha256) is None
    with store.write() as transaction:
        transaction.drop_session(kept.token_sha256)
        assert transaction.session(kept.token_sha256) is None


def test_users_of_a_tenant_are_listed_by_id(store: MemoryStore) -> None:
    fill(store, BOB, "red fish")
    fill(store, ANN, "red fish", "blue bird")
    fill(store, Scope("other", "cleo"), "red fish")
    with store.read() as transaction:
        assert [(user.user_id, user.memories) for user in transaction.user_list("t", 5)] == [("ann", 2), ("bob", 1)]
        assert transaction.user_list("t", 1)[0].latest == NOW + timedelta(minutes=1)
        assert [user.user_id for user in transaction.user_list("t", 5, after="ann")] == ["bob"]
        assert [user.user_id for user in transaction.user_list("t", 5, matching="NN")] == ["ann"]
        assert transaction.user_list("t", 5, matching="%") == []
