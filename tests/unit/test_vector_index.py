"""FAISS against its readable twin, over random histories seen by two stores on one file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from maas import PersonalMemoryBrain, Settings
from maas.records import Scope
from maas.storage.protocol import Where
from maas.storage.vector_index import VectorIndex, brute_force, pack
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
