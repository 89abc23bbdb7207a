"""Vectors that a process keeps: what they find is what the database itself finds, whoever wrote last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from maas import PersonalMemoryBrain, Settings
from maas.records import Scope
from maas.storage.values import Where
from tests.conftest import FakeClock
from tests.fakes import FakeEmbedder
from tests.postgres import Server
from tests.postgres_store.test_statements import told

__all__ = ["told"]
SCOPE = Scope("default", "u")
texts = st.text("abcdefgh ", min_size=1, max_size=12).filter(str.strip)
steps = st.lists(
    st.tuples(st.sampled_from(["store", "store", "update", "delete", "supersede"]), st.integers(0, 1), texts),
    min_size=1,
    max_size=10,
)


@contextmanager
def three(postgres: Server, clock: FakeClock) -> Iterator[list[PersonalMemoryBrain]]:
    """On one database; the last has no room for vectors, so that every question goes to the database."""
    name, embedder = postgres.migrated(), FakeEmbedder(dim=16)
    keeping, asking = postgres.settings(name), postgres.settings(name, cache_bytes=0)
    with (
        PersonalMemoryBrain(keeping, embedder=embedder, clock=clock) as first,
        PersonalMemoryBrain(keeping, embedder=embedder, clock=clock) as second,
        PersonalMemoryBrain(asking, embedder=embedder, clock=clock) as twin,
    ):
        yield [first, second, twin]


def same_found(brain: PersonalMemoryBrain, twin: PersonalMemoryBrain, query: str, clock: FakeClock) -> None:
    vector, fingerprint = brain.encode([query])[0], brain.embedder.fingerprint
    for agent in (None, "a"):
        where = Where(now=clock(), agent_id=agent)
        answers = []
        for one in (brain, twin):
            with one._store.read() as transaction:
                (hits,) = transaction.dense(SCOPE, fingerprint, vector[None, :], 4, where)
                seqs = np.array([seq for seq, _ in transaction.page(SCOPE, where, 100)] + [10**9], np.int64)
                scores = transaction.similarities(SCOPE, fingerprint, vector, seqs)
                here, vectors = transaction.rows(SCOPE, fingerprint, seqs)
                answers.append((hits, dict(zip(seqs.tolist(), scores.tolist(), strict=True)), here.tolist(), vectors))
        (hits, known, here, vectors), (twin_hits, twin_known, twin_here, twin_vectors) = answers
        assert hits.scores == pytest.approx(twin_hits.scores, abs=1e-3)
        assert [known[seq] for seq in hits.seqs.tolist()] == pytest.approx(hits.scores.tolist(), abs=1e-5)
        assert known == pytest.approx(twin_known, abs=1e-3, nan_ok=True)
        assert here == twin_here
        if any(here):
            assert np.array_equal(vectors, twin_vectors)


@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps)
def test_kept_vectors_find_what_the_database_finds(postgres: Server, steps: list[tuple[str, int, str]]) -> None:
    clock = FakeClock()
    with three(postgres, clock) as (first, second, twin):
        ids: list[str] = []
        for action, which, text in steps:
            brain = (first, second)[which]
            stored = {"user_id": "u", "agent_id": "a" if len(text) % 2 else "b", "dedupe": "off"}
            if action == "store" or not ids:
                ids.append(brain.store(text, **stored).results[0].id)
            elif action == "update":
                brain.update(ids[len(text) % len(ids)], text=text)
            elif action == "delete":
                brain.delete(ids.pop(len(text) % len(ids)))
            else:
                ids.append(brain.store(text, supersedes=ids[len(text) % len(ids)], **stored).results[0].id)
            for reader in (first, second):
                same_found(reader, twin, text, clock)
        assert len(first._store.caches.vectors) == 1
        assert not twin._store.caches.vectors.nbytes


def read_vectors(told: list[str]) -> bool:
    return any("FROM vectors" in sql for sql in told)


def test_a_user_who_is_asked_again_costs_no_reading_of_vectors(postgres_settings: Settings, told: list[str]) -> None:
    with PersonalMemoryBrain(postgres_settings, embedder=FakeEmbedder(dim=16)) as brain:
        brain.store_batch([{"text": f"fish {n}", "user_id": "u"} for n in range(5)])
        for expected in (True, False):
            told.clear()
            assert len(brain.recall("fish 3", user_id="u").results) == 5
            assert read_vectors(told) == expected
        brain.store("fish 6", user_id="u")
        assert len(brain.recall("fish 3", user_id="u").results) == 6


def test_after_a_server_was_lost_nothing_kept_is_believed(
    postgres: Server, postgres_settings: Settings, told: list[str]
) -> None:
    with PersonalMemoryBrain(postgres_settings, embedder=FakeEmbedder(dim=16)) as brain:
        brain.store("fish", user_id="u")
        brain.recall("fish", user_id="u")
        with postgres.connect() as other:
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'maas'")
        told.clear()
        assert len(brain.recall("fish", user_id="u").results) == 1
        assert read_vectors(told)
