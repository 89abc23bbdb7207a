from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from maas.embedders.protocol import Vectors
from maas.errors import NotReadyError, OverloadedError
from tests.api.problems import problem_of
from tests.fakes import FakeEmbedder
from tests.live import Live, serving


class SlowEmbedder(FakeEmbedder):
    """Takes its time, as a large model does."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        time.sleep(0.3)
        return super().encode(texts)


class FailingEmbedder(FakeEmbedder):
    error: Exception | None = None

    def encode(self, texts: Sequence[str]) -> Vectors:
        if self.error is not None:
            raise self.error
        return super().encode(texts)


def test_probes_need_no_key(live: Live) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert httpx2.get(f"{live.url}{path}").status_code == 200


def test_health_answers_while_every_thread_encodes(tmp_path: Path) -> None:
    with serving(tmp_path, SlowEmbedder(), server={"threads": 8}) as live, live.http() as http:
        stop = threading.Event()

        def load(worker: int) -> None:
            with live.http() as own:
                while not stop.is_set():
                    own.post("/v1/memories", json={"user_id": "a", "text": f"{worker} at {time.perf_counter()}"})

        with ThreadPoolExecutor(32) as pool:
            workers = [pool.submit(load, worker) for worker in range(32)]
            time.sleep(0.5)
            seconds = []
            for _ in range(100):
                started = time.perf_counter()
                assert http.get("/healthz").status_code == 200
                seconds.append(time.perf_counter() - started)
            stop.set()
        for worker in workers:
            worker.result()
    # An endpoint that waited for a thread would take 0.3 s and more nearly always; a loaded machine gets some leave.
    assert sorted(seconds)[50] < 0.15


def test_thirty_two_clients_store_and_recall_at_once(live: Live, user: str) -> None:
    def work(worker: int) -> int:
        with live.http() as http:
            for n in range(5):
                body = {"user_id": user, "text": f"fact {n} of worker {worker}"}
                assert http.post("/v1/memories", json=body).status_code == 201
                assert http.post("/v1/recall", json={"user_id": user, "query": body["text"]}).status_code == 200
        return worker

    with ThreadPoolExecutor(32) as pool:
        assert sorted(pool.map(work, range(32))) == list(range(32))
    with live.http() as http:
        listed = http.get("/v1/memories", params={"user_id": user, "limit": 1000}).json()["results"]
        assert len({memory["text"] for memory in listed}) == len(listed) == 160


def test_readiness_gives_its_reason(tmp_path: Path) -> None:
    embedder = FailingEmbedder()
    with serving(tmp_path, embedder) as live, live.http() as http:
        embedder.error = NotReadyError("the model is still loading", retry_after=3)
        response = http.get("/readyz")
        assert "still loading" in problem_of(response, 503, "not_ready")["detail"]
        assert response.headers["retry-after"] == "3"
        assert http.get("/healthz").status_code == 200


def test_overload_says_when_to_come_back(tmp_path: Path) -> None:
    embedder = FailingEmbedder()
    with serving(tmp_path, embedder) as live, live.http() as http:
        embedder.error = OverloadedError("4,096 texts are waiting", retry_after=0.2)
        response = http.post("/v1/memories", json={"user_id": "a", "text": "x"})
        problem_of(response, 503, "overloaded")
        assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("error", [RuntimeError("secret /etc/path"), MemoryError("secret /etc/path")])
def test_a_failure_inside_tells_nothing_of_the_inside(tmp_path: Path, error: Exception) -> None:
    embedder = FailingEmbedder()
    with serving(tmp_path, embedder) as live, live.http() as http:
        embedder.error = error
        response = http.post("/v1/memories", json={"user_id": "a", "text": "x"})
        assert "secret" not in str(problem_of(response, 500, "internal"))
        embedder.error = None
        assert http.get("/v1/memories", params={"user_id": "a"}).json()["results"] == []


def test_request_ids_are_kept_or_made(http: httpx2.Client) -> None:
    assert http.get("/healthz", headers={"X-Request-Id": "trace-7.a"}).headers["x-request-id"] == "trace-7.a"
    made = http.get("/healthz", headers={"X-Request-Id": "no spaces!"}).headers["x-request-id"]
    assert made != "no spaces!"
    assert made != http.get("/healthz").headers["x-request-id"]


def test_answers_are_not_cached(http: httpx2.Client) -> None:
    for path in ("/healthz", "/v1/memories?user_id=a", "/nope"):
        assert http.get(path).headers["cache-control"] == "no-store"


def test_unknown_routes_and_methods_are_problems(http: httpx2.Client) -> None:
    problem_of(http.get("/"), 404, "not_found")
    problem_of(http.get("/v1/nothing"), 404, "not_found")
    refused = http.put("/v1/memories")
    problem_of(refused, 405, "method_not_allowed")
    assert refused.headers["allow"]


def test_metrics_count_by_route_not_by_path(tmp_path: Path) -> None:
    with serving(tmp_path) as live, live.http() as http:
        stored = http.post("/v1/memories", json={"user_id": "alice", "text": "x"}).json()["results"][0]["id"]
        http.post("/v1/recall", json={"user_id": "alice", "query": "x"})
        http.get(f"/v1/memories/{stored}")
        http.get("/no/such/route")
        text = http.get("/metrics").text
    route = "/v1/memories/{memory_id}"
    assert f'maas_http_requests_total{{method="GET",route="{route}",status="200"}} 1.0' in text
    assert 'maas_http_requests_total{method="ANY",route="unmatched",status="404"} 1.0' in text
    assert 'maas_memories_stored_total{event="ADD"} 1.0' in text
    assert "maas_memories_recalled_total 1.0" in text
    assert stored not in text
    assert "alice" not in text


def test_metrics_take_an_admin_key_where_others_could_reach_them(tmp_path: Path) -> None:
    with serving(tmp_path, server={"host": "0.0.0.0"}) as live:
        with live.http(None) as nobody:
            problem_of(nobody.get("/metrics"), 401)
        with live.http(live.key(scopes=["read", "write"])) as reader:
            problem_of(reader.get("/metrics"), 403)
        with live.http() as http:
            assert http.get("/metrics").status_code == 200
