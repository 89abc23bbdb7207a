"""Servers on one PostgreSQL: what one is told holds at once on the other, and what one leaves is done by another."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import create_engine, text

from maas.bench.embedder import WordSumEmbedder
from maas.bench.replicas import KEY, process_context, replicas
from maas.brain import PersonalMemoryBrain
from maas.embedders.protocol import Vectors
from maas.settings import Settings
from tests.live import Live, serving, someone
from tests.postgres import Server

pytestmark = pytest.mark.server
MEMORIES = 640


@pytest.fixture(scope="module")
def pair(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Live]]:
    """Two servers with folders of their own, started on a database that has no tables yet."""
    storage = {"url": postgres.url(postgres.empty()), "connections": 8}
    folder = tmp_path_factory.mktemp("pair")
    with serving(folder / "one", storage=storage) as one, serving(folder / "two", storage=storage) as two:
        yield one, two


@pytest.fixture
def both(pair: tuple[Live, Live]) -> Iterator[tuple[httpx2.Client, httpx2.Client]]:
    one, two = pair
    with one.http() as first, two.http(one.admin_key) as second:
        yield first, second


def texts(http: httpx2.Client, user_id: str, query: str, **fields: Any) -> list[str]:
    answer = http.post("/v1/recall", json={"user_id": user_id, "query": query, **fields})
    answer.raise_for_status()
    return [hit["text"] for hit in answer.json()["results"]]


def test_only_the_first_server_makes_a_first_key(pair: tuple[Live, Live]) -> None:
    one, two = pair
    assert one.admin_key
    assert not two.admin_key


def test_a_key_works_and_stops_working_everywhere_at_once(
    pair: tuple[Live, Live], both: tuple[httpx2.Client, httpx2.Client]
) -> None:
    first, second = both
    made = first.post("/v1/keys", json={"name": "phone", "scopes": ["read"]}).json()
    with pair[1].http(made["key"]) as phone:
        asked = {"user_id": someone(), "query": "anything"}
        assert phone.post("/v1/recall", json=asked).status_code == 200
        assert first.delete(f"/v1/keys/{made['id']}").status_code == 200
        assert phone.post("/v1/recall", json=asked).status_code == 401
    made = second.post("/v1/keys", json={"name": "old"}).json()
    new = first.post(f"/v1/keys/{made['id']}/rotate", json={}).json()
    for live in pair:
        with live.http(made["key"]) as old, live.http(new["key"]) as young:
            assert [http.get("/v1/models").status_code for http in (old, young)] == [401, 200]


def test_what_one_writes_the_next_recall_of_the_other_finds(both: tuple[httpx2.Client, httpx2.Client]) -> None:
    first, second = both
    user_id = someone()
    first.post("/v1/memories", json={"user_id": user_id, "text": "I have a cat"}).raise_for_status()
    for mode in (
        "hybrid",
        "dense",
        "lexical",
    ):  # what the second keeps about the user from here on must not be believed
        assert texts(second, user_id, "cat", mode=mode) == ["I have a cat"]
    for number in range(3):
        writer, reader = (first, second) if number % 2 else (second, first)
        said = f"my cat caught mouse number {number}"
        made = writer.post("/v1/memories", json={"user_id": user_id, "text": said}).json()["results"][0]
        for mode in ("hybrid", "dense", "lexical"):
            assert said in texts(reader, user_id, said, mode=mode)
        changed = f"my cat let mouse number {number} go"
        reader.patch(f"/v1/memories/{made['id']}", json={"text": changed}).raise_for_status()
        found = texts(writer, user_id, changed)
        assert changed in found
        assert said not in found
        reader.delete(f"/v1/memories/{made['id']}").raise_for_status()
        assert changed not in texts(writer, user_id, changed)
    first.delete(f"/v1/users/{user_id}").raise_for_status()
    assert texts(second, user_id, "cat") == []


def test_a_request_sent_to_both_happens_once(both: tuple[httpx2.Client, httpx2.Client]) -> None:
    user_id = someone()
    body = {"user_id": user_id, "text": "I paid the rent", "dedupe": "off"}
    headers = {"Idempotency-Key": someone()}

    def send(http: httpx2.Client) -> httpx2.Response:
        return http.post("/v1/memories", json=body, headers=headers)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, both * 4))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["results"][0]["id"] for answer in answers}) == 1
    assert len(both[1].get("/v1/memories", params={"user_id": user_id}).json()["results"]) == 1
    other = both[1].post("/v1/memories", json=body | {"text": "I did not"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_writers_of_one_user_on_both_lose_nothing(both: tuple[httpx2.Client, httpx2.Client]) -> None:
    user_id = someone()
    items = [{"user_id": user_id, "text": f"note {n}", "key": f"k{n % 10}"} for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        sent = enumerate(items)
        answers = list(pool.map(lambda job: both[job[0] % 2].post("/v1/memories", json=job[1]), sent))
    assert {answer.status_code for answer in answers} == {201}
    listed = both[0].get("/v1/memories", params={"user_id": user_id, "limit": 100}).json()["results"]
    assert sorted(memory["key"] for memory in listed) == [f"k{n}" for n in range(10)]
    versions = [both[1].get(f"/v1/memories/{memory['id']}/history").json()["results"] for memory in listed]
    assert sum(map(len, versions)) == len(items)


class SlowEmbedder(WordSumEmbedder):
    """The one that is switched to: a batch takes long enough to be killed in."""

    name = "bench-word-sum-2"
    fingerprint = "bench-word-sum-2:384:v1"

    def encode(self, texts: Any) -> Vectors:
        if len(texts) > 1:
            time.sleep(0.4)
        return super().encode(texts)


@contextmanager
def switched(postgres: Server, tmp_path: Path) -> Iterator[tuple[Settings, list[str], list[BaseProcess]]]:
    """Two server processes of another encoder than the memories were stored with."""
    settings = Settings(data_dir=tmp_path / "data", storage=postgres.settings(postgres.migrated()).storage)
    with PersonalMemoryBrain(settings, embedder=WordSumEmbedder()) as brain:
        brain.store_batch([{"user_id": f"user-{n % 3}", "text": f"birch note {n}"} for n in range(MEMORIES)])
    with replicas(process_context(), settings, embedder=SlowEmbedder) as (urls, processes):
        yield settings, urls, processes


def test_re_embedding_runs_once_and_moves_when_its_server_is_killed(postgres: Server, tmp_path: Path) -> None:
    with switched(postgres, tmp_path) as (settings, urls, processes):
        ask = partial(httpx2.request, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)
        with ThreadPoolExecutor(2) as pool:
            started = list(pool.map(lambda url: ask("POST", f"{url}/v1/admin/reindex").json(), urls))
        assert [status["state"] for status in started] == ["running"] * 2
        assert runs(settings) == [("running", None)], "asked for on both, it runs on one"
        until(lambda: ask("GET", f"{urls[1]}/v1/admin/reindex").json()["done"] >= 64)
        runner = the_runner(processes, settings)
        assert processes[runner].pid is not None
        os.kill(processes[runner].pid or 0, signal.SIGKILL)
        left = urls[1 - runner]
        recalled = {"user_id": "user-0", "query": "birch note 3"}
        assert ask("POST", f"{left}/v1/recall", json=recalled).json()["results"], "meanwhile recall goes on"
        until(lambda: ask("GET", f"{left}/v1/admin/reindex").json()["state"] == "done", seconds=90)
        status = ask("GET", f"{left}/v1/admin/reindex").json()
        assert status["done"] == status["total"] == MEMORIES
        assert [state for state, _ in runs(settings)] == ["running", "done"], "the dead one's, and the other's"


def runs(settings: Settings) -> list[tuple[str, Any]]:
    engine = create_engine(settings.database_url)
    try:
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT state, finished_at FROM reindex_runs ORDER BY run")).all()
            return [(state, finished) for state, finished in rows]
    finally:
        engine.dispose()


def the_runner(processes: list[BaseProcess], settings: Settings) -> int:
    """Stop one for a moment: if the count stands still, it is the one that encodes."""
    assert processes[0].pid is not None
    os.kill(processes[0].pid, signal.SIGSTOP)
    try:
        first, moved, end = embedded(settings), False, time.monotonic() + 6
        while not moved and time.monotonic() < end:
            time.sleep(0.1)
            moved = embedded(settings) > first
    finally:
        os.kill(processes[0].pid, signal.SIGCONT)
    return 1 if moved else 0


def embedded(settings: Settings) -> int:
    engine = create_engine(settings.database_url)
    try:
        with engine.connect() as connection:
            found = "SELECT count(*) FROM vectors v JOIN spaces s USING (space) WHERE s.fingerprint = :f"
            return int(connection.execute(text(found), {"f": SlowEmbedder.fingerprint}).scalar_one())
    finally:
        engine.dispose()


def until(met: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)
