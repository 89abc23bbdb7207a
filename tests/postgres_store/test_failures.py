"""What can go wrong between maas and a real server: said clearly, over as soon as the cause is, and nothing lost."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas import PersonalMemoryBrain, Settings
from maas.errors import ConfigError, NotReadyError, UnavailableError
from maas.records import Scope
from maas.storage.opening import open_store
from maas.storage.postgres_store import PostgresStore
from tests.cli.conftest import Run
from tests.fakes import FakeEmbedder
from tests.live import serving
from tests.postgres import Server


@pytest.fixture
def brain(postgres_settings: Settings) -> Iterator[PersonalMemoryBrain]:
    with PersonalMemoryBrain(postgres_settings, embedder=FakeEmbedder(dim=32)) as brain:
        yield brain


@pytest.fixture
def stopped(postgres: Server) -> Iterator[Server]:
    """The server, which runs again afterwards."""
    yield postgres
    if not (postgres.folder / "postmaster.pid").exists():
        postgres.start()


def texts(brain: PersonalMemoryBrain) -> set[str]:
    return {memory.text for memory in brain.list(user_id="ana").results}


def test_a_text_of_more_words_than_a_tsvector_holds_is_kept_whole(brain: PersonalMemoryBrain) -> None:
    text = " ".join(f"{n:032x}" for n in range(30_000))
    brain.store(text, user_id="ana")
    assert texts(brain) == {text}
    assert brain.recall(f"{17:032x}", user_id="ana", mode="lexical").results
    assert brain.recall(text[:200], user_id="ana", mode="dense").results


def test_a_server_that_is_down_is_503_and_its_return_is_noticed(brain: PersonalMemoryBrain, stopped: Server) -> None:
    brain.store("kept", user_id="ana")
    stopped.stop("immediate")
    for _ in range(2):
        with pytest.raises(UnavailableError, match="PostgreSQL cannot be reached") as refused:
            brain.store("lost?", user_id="ana")
        assert refused.value.retry_after
    with pytest.raises(NotReadyError, match="takes no writes"):
        brain.ready()
    stopped.start()
    assert texts(brain) == {"kept"}, "what was acknowledged, and nothing that was refused"
    brain.store("new", user_id="ana")
    assert texts(brain) == {"kept", "new"}


def test_connections_that_died_in_the_pool_are_replaced_unseen(brain: PersonalMemoryBrain, stopped: Server) -> None:
    brain.store("kept", user_id="ana")
    stopped.restart()
    assert texts(brain) == {"kept"}


def test_rest_answers_503_with_retry_after_and_recovers(postgres: Server, stopped: Server, tmp_path: Path) -> None:
    storage = {"url": postgres.url(postgres.migrated()), "connections": 4, "busy_timeout_ms": 500}
    with serving(tmp_path, FakeEmbedder(dim=32), storage=storage) as live, live.http() as http:
        body = {"text": "a red boat", "user_id": "ana"}
        assert http.post("/v1/memories", json=body).status_code == 201
        stopped.stop("immediate")
        refused = http.post("/v1/memories", json={**body, "text": "a blue boat"})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == "unavailable"
        assert http.get("/readyz").status_code == 503
        stopped.start()
        found = http.post("/v1/recall", json={"query": "boat", "user_id": "ana"}).json()
        assert [hit["text"] for hit in found["results"]] == ["a red boat"]


def test_a_connection_cut_in_a_transaction_leaves_nothing(postgres: Server, postgres_settings: Settings) -> None:
    store = open_store(postgres_settings)
    scope = Scope("t", "ana")

    def cut() -> None:
        with store.write() as transaction:
            transaction.tag(scope)
            with postgres.connect() as other:
                other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'maas'")
            transaction.tag(Scope("t", "bea"))

    with pytest.raises(UnavailableError, match="terminating connection") as refused:
        cut()
    assert refused.value.retry_after
    with store.write() as transaction:
        assert transaction.revisions([scope]) == {scope: 0}
        transaction.tag(scope)
    store.close()


def test_an_exhausted_pool_is_503(postgres: Server) -> None:
    store = open_store(postgres.settings(postgres.migrated(), connections=2, busy_timeout_ms=200))
    with store.read(), store.read():
        with pytest.raises(UnavailableError, match="every connection") as refused, store.read():
            pass
        assert refused.value.retry_after == 1
    with store.read() as transaction:
        assert transaction.revisions([Scope("t", "ana")]) == {Scope("t", "ana"): 0}
    store.close()


def test_a_lock_that_is_kept_too_long_is_503(postgres: Server) -> None:
    store = open_store(postgres.settings(postgres.migrated(), busy_timeout_ms=200))
    with store.write() as holder:
        holder.tag(Scope("t", "ana"))
        with store.write() as other:
            other.tag(Scope("t", "bea"))
        with pytest.raises(UnavailableError, match="busy_timeout_ms"), store.write() as other:
            other.tag(Scope("t", "ana"))
    store.close()


def test_a_replica_reads_and_says_why_it_does_not_write(brain: PersonalMemoryBrain, stopped: Server) -> None:
    brain.store("kept", user_id="ana")
    stopped.stop("fast")
    (stopped.folder / "standby.signal").touch()
    stopped.start()
    try:
        assert brain.recall("kept", user_id="ana").results[0].text == "kept"
        with pytest.raises(UnavailableError, match="read-only replica; add target_session_attrs=read-write"):
            brain.store("refused", user_id="ana")
        with pytest.raises(NotReadyError):
            brain.ready()
    finally:
        stopped.promote()
    brain.store("taken", user_id="ana")
    assert texts(brain) == {"kept", "taken"}


def test_a_wrong_password_is_one_line(postgres: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    hba = postgres.folder / "pg_hba.conf"
    before = hba.read_text()
    with postgres.connect() as connection:
        connection.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
        hba.write_text(f"local all locked scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
    try:
        monkeypatch.setenv("MAAS_STORAGE__URL", postgres.url("postgres", "locked", "wrong"))
        done = run("list", "-u", "ana")
    finally:
        hba.write_text(before)
    assert done.code == 1
    assert 'password authentication failed for user "locked"; check storage.url' in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert "wrong" not in done.err


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql+psycopg://nobody@127.0.0.1:1/x", "cannot be reached"),
        ("postgresql+psycopg2://u@h/x", "speaks postgresql\\+psycopg"),
        ("mysql://u@h/x", "mysql"),
        ("nonsense", "is no URL"),
    ],
)
def test_urls_that_lead_nowhere(url: str, message: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAAS_STORAGE__URL", url)
    done = run("list", "-u", "ana")
    assert done.code == 1
    assert re.search(message, done.err)
    assert len(done.err.strip().splitlines()) == 1


def test_servers_and_extensions_that_are_missing_or_old(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "maas.storage.postgres_store"
    settings = postgres.settings(postgres.empty())
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.MINIMUM_SERVER", 99)
        with pytest.raises(ConfigError, match="maas needs 99 or newer"):
            PostgresStore(settings)
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.MINIMUM_PGVECTOR", (99, 0))
        with pytest.raises(ConfigError, match="maas needs 99.0 or newer: ALTER EXTENSION"):
            PostgresStore(settings)
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}._EXTENSION", "vector_that_is_not_there")
        with pytest.raises(ConfigError, match="has no pgvector; install it"):
            PostgresStore(settings)
    PostgresStore(settings).close()


def test_two_replicas_write_the_same_once(postgres: Server, postgres_settings: Settings) -> None:
    brains = [PersonalMemoryBrain(postgres_settings, embedder=FakeEmbedder(dim=32)) for _ in range(2)]
    events: list[str] = []
    start = threading.Barrier(8)

    def store(number: int) -> None:
        start.wait()
        mine = brains[number % 2]
        events.append(mine.store("the same text", user_id="ana").results[0].event)
        users = ["bea", "cai"] if number % 3 else ["cai", "bea"]
        items = [{"text": f"{user} says so", "user_id": user} for user in users]
        events.extend(result.event for result in mine.store_batch(items, idempotency_key=f"k{number % 3}").results)

    threads = [threading.Thread(target=store, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(events) == 8 * 3
    for user in ("ana", "bea", "cai"):
        assert len(brains[0].list(user_id=user).results) == 1, user
    key = brains[0].create_key(name="k", scopes=["read"])
    assert brains[1].authenticate(key.key).id == key.id
    brains[0].revoke_key(key.id)
    with pytest.raises(Exception, match="revoked"):
        brains[1].authenticate(key.key)
    for brain in brains:
        brain.close()


def test_the_driver_alone_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    settings = Settings(storage={"url": "postgresql+psycopg://u@h/x"})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"pip install 'maas\[postgres\]'"):
        open_store(settings)
