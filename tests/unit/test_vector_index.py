"""FAISS against its readable twin, over random histories seen by two stores on one file."""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from maas import PersonalMemoryBrain, Settings
from maas.records import Scope
from maas.storage.values import Where
from maas.storage.vector_index import VectorIndex, brute_force, pack, wait_for_sketches
from tests.conftest import FakeClock
from tests.fakes import FakeEmbedder

nouns = st.sampled_from(["red", "green", "blue", "fish", "bird", "tree"])
words = st.lists(nouns, min_size=1, max_size=4).map(" ".join)
steps = st.lists(
    st.tuples(st.sampled_from(["store", "update", "delete", "supersede", "recall"]), st.integers(0, 1), words),
    min_size=1,
    max_size=25,
)


def check(brain: PersonalMemoryBrain, query: str, clock: FakeClock, *, narrowed: bool) -> None:
    scope, fingerprint = Scope("default", "u"), brain.embedder.fingerprint
    vector = brain.encode([query])[0]
    where = Where(now=clock(), agent_id="a" if narrowed else None)
    with brain._store.read() as transaction:
        fast = transaction.dense(scope, fingerprint, vector[None, :], 5, where)[0]
        rows = transaction.page(scope, where, 1_000)
        seqs = np.array([seq for seq, _ in rows], np.int64)
        kept = {exported.memory.id: exported.vectors for exported in transaction.export(scope)}
    vectors = [kept[memory.id][fingerprint].astype(np.float32) for _, memory in rows]
    slow = brute_force(seqs, np.array(vectors, np.float32).reshape(-1, brain.embedder.dim), vector, 5)
    assert fast.scores == pytest.approx(slow.scores, abs=1e-5)
    every = dict(zip(seqs.tolist(), np.array(vectors) @ vector if vectors else [], strict=True))
    for seq, score in zip(fast.seqs.tolist(), fast.scores.tolist(), strict=True):
        assert score == pytest.approx(every[seq], abs=1e-5)


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps, cache_bytes=st.sampled_from([0, 3_000, 10**8]))
def test_index_equals_brute_force(steps: list[tuple[str, int, str]], cache_bytes: int) -> None:
    clock = FakeClock()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), storage={"cache_bytes": cache_bytes})
        embedder = FakeEmbedder(dim=16)
        with (
            PersonalMemoryBrain(settings, embedder=embedder, clock=clock) as first,
            PersonalMemoryBrain(settings, embedder=embedder, clock=clock) as second,
        ):
            ids: list[str] = []
            for action, which, text in steps:
                brain = (first, second)[which]
                agent = "a" if len(text) % 2 else "b"
                if action == "store" or not ids:
                    ids.append(brain.store(text, user_id="u", agent_id=agent, dedupe="off").results[0].id)
                elif action == "update":
                    brain.update(ids[len(text) % len(ids)], text=text)
                elif action == "delete":
                    brain.delete(ids.pop(len(text) % len(ids)))
                elif action == "supersede":
                    old = ids[len(text) % len(ids)]
                    ids.append(
                        brain.store(text, user_id="u", agent_id=agent, dedupe="off", supersedes=old).results[0].id
                    )
                for reader in (first, second):
                    check(reader, text, clock, narrowed=action == "recall")
            assert first._store.caches.vectors.nbytes <= cache_bytes


@pytest.mark.parametrize("rows", [3, 900, 10_001])
def test_many_questions_at_once_find_what_each_finds_alone(rows: int) -> None:
    generator = np.random.default_rng(rows)
    vectors = generator.standard_normal((rows, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    seqs = np.arange(rows, dtype=np.int64) * 3 + 1
    index = VectorIndex(16)
    index.sync(1, 0, lambda: seqs, lambda _: zip(seqs.tolist(), map(pack, vectors), strict=True))
    queries = generator.standard_normal((9, 16)).astype(np.float32)
    some = generator.choice(seqs, rows // 3, replace=False)
    for kept in ({}, {"allowed": some}, {"hidden": some}, {"hidden": seqs}):
        together = index.search(queries, 5, **kept)
        for query, hits in zip(queries, together, strict=True):
            (alone,) = index.search(query[None, :], 5, **kept)
            assert hits.seqs.tolist() == alone.seqs.tolist()
            assert hits.scores == pytest.approx(alone.scores, abs=1e-5)


@pytest.mark.parametrize("shape", ["clustered", "random"])
def test_a_sketch_finds_what_comparing_every_row_finds(shape: str) -> None:
    generator = np.random.default_rng(7)
    rows, dim = 30_000, 64
    vectors = drawn(generator, rows + 30, dim, clustered=shape == "clustered")
    queries, vectors = vectors[rows:], vectors[:rows]
    seqs = np.arange(rows, dtype=np.int64) * 2 + 5
    index = sketched(dim, seqs, vectors)
    kept = vectors.astype(np.float16).astype(np.float32)
    some = np.sort(generator.choice(seqs, rows // 2, replace=False))
    for narrowing, among in (({}, seqs), ({"hidden": some}, np.setdiff1d(seqs, some)), ({"allowed": some}, some)):
        found = []
        for query in queries:
            (hits,) = index.search(query[None, :], 10, **narrowing)
            truth = brute_force(among, kept[(among - 5) // 2], query, 10)
            assert set(hits.seqs.tolist()) <= set(among.tolist())
            assert hits.scores == pytest.approx(kept[(hits.seqs - 5) // 2] @ query, abs=1e-5)
            found.append(len(set(hits.seqs.tolist()) & set(truth.seqs.tolist())) / 10)
        assert np.mean(found) >= 0.98


def drawn(generator: np.random.Generator, rows: int, dim: int, *, clustered: bool) -> np.ndarray:
    vectors = generator.standard_normal((rows, dim)).astype(np.float32)
    if clustered:
        centres = generator.standard_normal((rows // 100, dim)).astype(np.float32)
        vectors = centres[generator.integers(0, len(centres), rows)] + 0.7 * vectors
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sketched(dim: int, seqs: np.ndarray, vectors: np.ndarray) -> VectorIndex:
    index = VectorIndex(dim, exact_up_to=1_000, room=10**9)
    index.sync(1, 0, lambda: seqs, lambda _: zip(seqs.tolist(), map(pack, vectors), strict=True))
    wait_for_sketch(index)
    return index


def wait_for_sketch(index: VectorIndex) -> None:
    wait_for_sketches()
    assert index.sketched


@hypothesis_settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "change", "remove", "remove many"]), st.integers(0, 2**32 - 1)),
        min_size=1,
        max_size=12,
    ),
    st.booleans(),
)
def test_a_sketch_keeps_up_with_what_is_added_changed_and_removed(
    steps: list[tuple[str, int]], made_meanwhile: bool
) -> None:
    generator = np.random.default_rng(3)
    truth = dict(enumerate(drawn(generator, 2_000, 16, clustered=True), start=1))
    index = sketched(16, np.array(list(truth), np.int64), np.array(list(truth.values())))
    revision, last = 1, len(truth)
    for action, seed in steps:
        revision += 1
        generator = np.random.default_rng(seed)
        changed: dict[int, np.ndarray] = {}
        if action == "add":
            changed = dict(enumerate(drawn(generator, 3, 16, clustered=False), start=last + 1))
            last += 3
        elif action == "change":
            changed = {int(generator.choice(list(truth))): drawn(generator, 1, 16, clustered=False)[0]}
        else:
            gone = generator.choice(list(truth), min(len(truth) - 1, 1 if action == "remove" else 200), replace=False)
            for seq in gone.tolist():
                del truth[seq]
        truth.update(changed)
        seqs = np.array(sorted(truth), np.int64)
        index.sync(
            revision,
            revision if action.startswith("remove") else 0,
            lambda seqs=seqs: seqs,
            lambda _, changed=changed: ((seq, pack(vector)) for seq, vector in changed.items()),
        )
        if not made_meanwhile:
            wait_for_sketch(index)
        query = next(iter(changed.values())) if changed else truth[int(seqs[0])]
        (hits,) = index.search(query[None, :], 5)
        kept = np.array([truth[int(seq)] for seq in seqs]).astype(np.float16).astype(np.float32)
        exact = brute_force(seqs, kept, query, 5)
        assert set(hits.seqs.tolist()) <= set(truth)
        assert hits.scores == pytest.approx(exact.scores, abs=1e-5)


def test_a_user_of_many_memories_is_found_as_before(tmp_path: Path) -> None:
    texts = [
        f"note {n} on the {noun} {n % 37}" for n, noun in zip(range(1_500), ["boat", "tree", "lamp"] * 500, strict=True)
    ]
    answers = {}
    for exact_up_to in (0, 1_000):
        settings = Settings(data_dir=tmp_path / str(exact_up_to), storage={"exact_up_to": exact_up_to})
        with (
            PersonalMemoryBrain(settings, embedder=FakeEmbedder(dim=16)) as brain,
            PersonalMemoryBrain(settings, embedder=FakeEmbedder(dim=16)) as other,
        ):
            for start in range(0, len(texts), 500):
                batch = [{"user_id": "u", "text": text, "agent_id": text[5:7]} for text in texts[start : start + 500]]
                brain.store_batch(batch)
            brain.recall("the boat", user_id="u", mode="dense")
            (entry,) = [index for _, index in brain._store.caches.vectors.items()]
            if exact_up_to:
                wait_for_sketch(entry)
            assert entry.sketched == bool(exact_up_to)
            first = brain.list(user_id="u", limit=1).results[0]
            other.update(first.id, text="a red kite over the harbour", user_id="u")
            found = [
                [hit.text for hit in brain.recall(query, user_id="u", mode="dense", **narrowed).results]
                for query in ("a red kite over the harbour", "note on the lamp 12", "boat 7")
                for narrowed in ({}, {"agent_id": "12"})
            ]
            other.erase_user("u")
            assert brain.recall("the boat", user_id="u", mode="dense").results == []
            answers[exact_up_to] = found
    assert answers[0] == answers[1_000]
    assert answers[0][0][0] == "a red kite over the harbour"


def test_no_room_for_a_sketch_leaves_the_comparison_of_all() -> None:
    vectors = drawn(np.random.default_rng(1), 3_000, 16, clustered=False)
    seqs = np.arange(3_000, dtype=np.int64)
    index = VectorIndex(16, exact_up_to=1_000, room=3_000 * 60)
    index.sync(1, 0, lambda: seqs, lambda _: zip(seqs.tolist(), map(pack, vectors), strict=True))
    wait_for_sketches()
    assert not index.sketched
    assert index.search(vectors[7:8], 1)[0].seqs.tolist() == [7]


def test_an_index_that_is_dropped_ends_the_making_of_its_sketch() -> None:
    vectors = drawn(np.random.default_rng(1), 40_000, 16, clustered=False)
    seqs = np.arange(40_000, dtype=np.int64)
    index = VectorIndex(16, exact_up_to=1_000, room=10**9)
    index.sync(1, 0, lambda: seqs, lambda _: zip(seqs.tolist(), map(pack, vectors), strict=True))
    dropped = weakref.ref(index)
    del index
    wait_for_sketches()
    assert dropped() is None
