"""A user with very many vectors is searched through an HNSW index of their own; others are not, and pay nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import make_url

from maas import Settings
from maas.embedders.protocol import Vectors
from maas.errors import ConflictError
from maas.records import Memory, Scope
from maas.storage import postgres_index
from maas.storage.postgres_reader import AMONG, NEAREST_WITHOUT, WITHOUT
from maas.storage.postgres_store import PostgresStore
from maas.storage.prepared import Prepared
from maas.storage.tables import Reals
from maas.storage.values import NewMemory, Where
from maas.storing import version_entry
from tests.cli.conftest import Run
from tests.contract.test_memory_store import NOW
from tests.postgres import Server

BIG, SMALL = Scope("t", "o'big"), Scope("t", "small")
ROWS, FEW, DIM, SPACE = 4_000, 50, 32, "points:32"
WHERE = Where(now=NOW)


def points(count: int, seed: int) -> Vectors:
    """(count, DIM) of unit length, in clusters as texts lie."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((40, DIM))
    values = centres[random.integers(0, 40, count)] + 0.7 * random.standard_normal((count, DIM))
    unit: Vectors = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return unit


def fill(store: PostgresStore, scope: Scope, vectors: Vectors) -> None:
    with store.write() as transaction:
        tag = transaction.tag(scope)
        rows = []
        for number, vector in enumerate(vectors):
            memory = Memory(
                id=f"{tag}{number:026d}",
                user_id=scope.user_id,
                text=f"point {number}",
                agent_id="odd" if number % 2 else "even",
                created_at=NOW,
                updated_at=NOW,
                expires_at=NOW - timedelta(days=1) if number % 10 == 3 else None,
            )
            history = [version_entry(memory, "ADD", NOW, "test")]
            rows.append(NewMemory(memory, number.to_bytes(4, "big"), ["point"], vector, NOW, history))
        transaction.insert(SPACE, {scope: rows})


@pytest.fixture(scope="module")
def settings(postgres: Server) -> Settings:
    return postgres.settings(postgres.migrated(), exact_up_to=1_000)


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[PostgresStore]:
    store = PostgresStore(settings)
    fill(store, BIG, points(ROWS, 1))
    fill(store, SMALL, points(FEW, 2))
    yield store
    store.close()


@pytest.fixture(scope="module")
def tuned(store: PostgresStore) -> PostgresStore:
    store.tune()
    return store


@pytest.fixture
def exactly(settings: Settings) -> Iterator[PostgresStore]:
    """The same database, searched row by row."""
    storage = settings.storage.model_copy(update={"exact_up_to": 0})
    store = PostgresStore(settings.model_copy(update={"storage": storage}))
    yield store
    store.close()


def nearest(store: PostgresStore, scope: Scope, query: NDArray[np.float32], k: int, where: Where = WHERE) -> list[int]:
    with store.read() as transaction:
        found = transaction.dense(scope, SPACE, query[None], k, where)[0]
    assert (np.diff(found.scores) <= 0).all()
    return [int(seq) for seq in found.seqs]


def recall_at_10(store: PostgresStore, exactly: PostgresStore, k: int, where: Where = WHERE) -> float:
    """The share of the ten nearest that are among the ``k`` found, over many questions."""
    shares = []
    for query in points(30, 3):
        true, found = nearest(exactly, BIG, query, 10, where), nearest(store, BIG, query, k, where)
        assert len(found) == k
        shares.append(len({*true} & {*found[:10]}) / 10)
    return float(np.mean(shares))


def planned(store: PostgresStore, statement: Prepared, scope: Scope, **values: object) -> str:
    query = Reals.of(points(1, 4)[0])
    own = {"tenant": scope.tenant, "user": scope.user_id, "space": 1, "k": 10, "seqs": [], "queries": query, **values}
    compiled = statement.postgresql
    with store.read() as transaction:
        driver = transaction._driver
        rows = driver.execute("EXPLAIN " + compiled.sql, compiled.bind(own), prepare=False).fetchall()
    return "\n".join(row[0] for row in rows)


def test_the_index_finds_what_an_exact_search_finds(tuned: PostgresStore, exactly: PostgresStore) -> None:
    assert recall_at_10(tuned, exactly, 10) >= 0.98
    assert recall_at_10(tuned, exactly, 200) >= 0.98


def test_what_is_filtered_or_expired_is_not_found(tuned: PostgresStore, exactly: PostgresStore) -> None:
    where = Where(now=NOW, agent_id="odd")
    assert recall_at_10(tuned, exactly, 10, where) >= 0.98
    allowed = set(nearest(exactly, BIG, points(1, 5)[0], ROWS, where))
    assert len(allowed) == ROWS // 2 - ROWS // 10
    for query in points(5, 6):
        assert set(nearest(tuned, BIG, query, 200, where)) <= allowed


def test_only_the_giant_is_searched_through_it(tuned: PostgresStore) -> None:
    with tuned.read() as transaction:
        user = transaction._user(BIG)
    assert user is not None
    for searched, seqs in ((WITHOUT, [1, 2, 3]), (AMONG, list(range(1, ROWS, 2)))):
        near = planned(tuned, postgres_index.nearest_indexed(searched, DIM), BIG, seqs=seqs)
        assert f"vectors_near_{user.number}_1" in near, near
        assert "vectors_near" not in planned(tuned, postgres_index.nearest_indexed(searched, DIM), SMALL, seqs=seqs)
    for scope in (BIG, SMALL):
        exact = planned(tuned, NEAREST_WITHOUT, scope, count=1, dim=DIM)
        assert "vectors_pkey" in exact, exact
        assert re.search(r"tenant_id = .*user_id = ", exact), exact


def test_without_the_index_the_same_is_found(postgres: Server, settings: Settings, exactly: PostgresStore) -> None:
    store = PostgresStore(postgres.settings(postgres.migrated(), exact_up_to=20))
    fill(store, SMALL, points(FEW, 2))
    with store.read() as transaction:
        fingerprinted = transaction.dense(SMALL, SPACE, points(3, 7), FEW, WHERE)
    live = FEW - FEW // 10
    for query, hits in zip(points(3, 7), fingerprinted, strict=True):
        near = np.argsort(-(points(FEW, 2).astype(np.float16).astype(np.float32) @ query))
        assert [int(seq) - 1 for seq in hits.seqs] == [int(n) for n in near if n % 10 != 3]
        assert len(hits.seqs) == live
    store.close()


def test_what_is_deleted_is_found_no_more_and_what_is_new_is(
    postgres: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = postgres.settings(postgres.migrated(), exact_up_to=300)
    store = PostgresStore(settings)
    try:
        fill(store, BIG, points(600, 8))
        made, dropped = store.tune()
        assert (len(made), dropped) == (1, [])
        assert store.tune() == ([], [])
        query = points(1, 9)[0]
        first, second, *_ = nearest(store, BIG, query, 10)
        with store.write() as transaction:
            transaction.delete(BIG, transaction.ids(BIG, [first])[first])
        assert nearest(store, BIG, query, 10)[0] == second
        with store.write() as transaction:
            old = transaction.by_seq(BIG, [second])[second]
            memory = old.model_copy(update={"id": old.id[:-1] + "x", "text": "itself"})
            history = [version_entry(memory, "ADD", NOW, "test")]
            rows = {BIG: [NewMemory(memory, b"new", ["itself"], query, NOW, history)]}
            (new,) = transaction.insert(SPACE, rows)[BIG]
        assert nearest(store, BIG, query, 10)[0] == new
        with store.write() as transaction:
            transaction.erase(BIG)
        assert indexes(postgres, settings) == [], "its definition named the user"
        monkeypatch.setenv("MAAS_STORAGE__URL", str(settings.storage.url))
        assert run("tune", "--json").json == {"made": [], "dropped": []}
    finally:
        store.close()


def test_half_an_index_is_made_anew_and_one_nobody_needs_is_dropped(postgres: Server) -> None:
    settings = postgres.settings(postgres.migrated(), exact_up_to=20)
    store = PostgresStore(settings)
    try:
        fill(store, SMALL, points(FEW, 2))
        (name,) = store.tune()[0]
        with postgres.connect(database(settings)) as connection:
            connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (name,))
            assert store.tune() == ([name], [])
            connection.execute("SELECT pg_advisory_lock(%s)", (postgres_index._TUNING,))
            with pytest.raises(ConflictError, match="another process"):
                store.tune()
            connection.execute("SELECT pg_advisory_unlock_all()")
            connection.execute("CREATE INDEX vectors_near_99_1 ON vectors (seq)")
        assert store.tune() == ([], ["vectors_near_99_1"])
        assert indexes(postgres, settings) == [name]
    finally:
        store.close()


def database(settings: Settings) -> str:
    return str(make_url(str(settings.storage.url)).database)


def indexes(postgres: Server, settings: Settings) -> list[str]:
    with postgres.connect(database(settings)) as connection:
        return sorted(postgres_index.indexes(connection))
