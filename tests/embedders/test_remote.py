"""The remote backend: one maas server encodes for others. Real servers on loopback; odd answers by a transport."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from maas.embedders import remote
from maas.embedders.batching import BatchingEmbedder
from maas.embedders.factory import build_embedder
from maas.embedders.protocol import contextual
from maas.errors import EmbedderUnavailableError, FingerprintMismatchError, NotReadyError
from maas.settings import Settings, load_settings
from tests.fakes import ContextualFakeEmbedder, FakeEmbedder, OtherFakeEmbedder
from tests.live import Live, serving

TEXTS = ["I moved to Tokyo in May", "", "  \n", "naïve 東京 😀", *(f"text {n}" for n in range(40))]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    embedder = BatchingEmbedder(ContextualFakeEmbedder())
    with serving(tmp_path_factory.mktemp("encoder"), embedder) as live:
        yield live
    embedder.close()


@pytest.fixture(scope="module")
def contextual_encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("contextual"), ContextualFakeEmbedder()) as live:
        yield live


def remote_settings(url: str | None, **embedder: Any) -> Settings:
    given = {"remote_url": url, "remote_retries": 0, "remote_timeout_seconds": 10, **embedder}
    return load_settings(embedder={"backend": "remote", **given})


def model(**changed: Any) -> dict[str, Any]:
    known = {"id": "fake", "object": "model", "created": 1, "owned_by": "maas", "max_tokens": None}
    return {"data": [known | {"fingerprint": "fake:2", "dim": 2, "contextual": False} | changed]}


def embedded(*vectors: list[float], fingerprint: str = "fake:2") -> dict[str, Any]:
    coded = [base64.b64encode(np.array(vector, "<f4").tobytes()).decode() for vector in vectors]
    return {"data": [{"index": i, "embedding": c} for i, c in enumerate(coded)], "fingerprint": fingerprint}


def ones(texts: list[str]) -> httpx2.Response:
    return httpx2.Response(200, json=embedded(*[[1.0, 0.0]] * len(texts)))


def answering(
    embeddings: Callable[[list[str]], httpx2.Response], **chosen: Any
) -> tuple[remote.RemoteEmbedder, list[Any]]:
    """An embedder on a server that answers as told, and the bodies it was asked with."""
    asked: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/models":
            return httpx2.Response(200, json=model())
        asked.append(json.loads(request.read()))
        return embeddings(json.loads(request.content)["input"])

    settings = remote_settings("http://encoder.test", **chosen)
    return remote.build(settings, httpx2.MockTransport(answer)), asked


def test_vectors_are_those_of_the_other_server(encoder: Live) -> None:
    embedder = build_embedder(remote_settings(encoder.url, remote_key=encoder.admin_key))
    try:
        local = ContextualFakeEmbedder()
        assert (embedder.name, embedder.dim, embedder.fingerprint) == (local.name, 384, local.fingerprint)
        spoken = [text for text in TEXTS if text.strip()]
        np.testing.assert_array_equal(embedder.encode(spoken), local.encode(spoken))
        assert embedder.encode(TEXTS).shape == (len(TEXTS), 384)
        assert embedder.encode([]).shape == (0, 384)
    finally:
        embedder.close()


@pytest.mark.parametrize("window", [None, 224])
def test_turns_are_read_in_their_context_there(contextual_encoder: Live, window: int | None) -> None:
    key = contextual_encoder.key(scopes=["read"])
    embedder = build_embedder(remote_settings(f"{contextual_encoder.url}/v1/", remote_key=key))
    try:
        reader = contextual(embedder)
        assert reader is not None
        units = ["one", "two", "three"]
        expected = ContextualFakeEmbedder().encode_in_context(units, window)
        np.testing.assert_array_equal(reader.encode_in_context(units, window), expected)
    finally:
        embedder.close()


def test_a_server_without_a_model_stores_and_recalls_through_another(contextual_encoder: Live, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{contextual_encoder.admin_key}\n")
    embedder = build_embedder(remote_settings(contextual_encoder.url, remote_key_file=tmp_path / "key"))
    try:
        with serving(tmp_path / "data", embedder) as live, live.http() as http:
            turns = [{"role": "user", "content": text} for text in ("I have a boat", "It lies in the harbour")]
            body = {"user_id": "anna", "messages": turns, "session_id": "s"}
            assert http.post("/v1/memories", json=body).status_code == 201
            (first, *_) = http.post("/v1/recall", json={"user_id": "anna", "query": "boat"}).json()["results"]
            assert first["text"] == "I have a boat"
            assert http.get("/readyz").status_code == 200
            assert live.brain._contexts.space == f"{embedder.fingerprint}+context"
            rerank = {"user_id": "anna", "query": "harbour", "rerank": True, "explain": True}
            assert "rerank" in http.post("/v1/recall", json=rerank).json()["results"][0]["explain"]
    finally:
        embedder.close()


def test_concurrent_callers_share_requests_and_lanes() -> None:
    here, gate = threading.Semaphore(0), threading.Event()

    def answer(texts: list[str]) -> httpx2.Response:
        here.release()
        gate.wait(10)
        return ones(texts)

    inner, asked = answering(answer, remote_requests=2)
    embedder = BatchingEmbedder(inner, lanes=2)
    try:
        threads = [threading.Thread(target=embedder.encode, args=([f"first {n}"],)) for n in range(2)]
        for thread in threads:
            thread.start()
            assert here.acquire(timeout=10), "each lane has a request under way"
        waiting = [threading.Thread(target=embedder.encode, args=([f"then {n}"],)) for n in range(8)]
        for thread in waiting:
            thread.start()
        while embedder.queued_texts < 8:
            time.sleep(0.001)
        gate.set()
        for thread in threads + waiting:
            thread.join(10)
        assert len(asked) <= 4, "eight callers went along in the next one or two"
    finally:
        gate.set()
        embedder.close()


def test_many_texts_go_in_requests_the_other_server_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "REQUEST_CHARACTERS", 5000)
    embedder, asked = answering(ones)
    texts = ["x"] * 1500 + ["y" * 4000] * 2 + ["z" * 9000]
    assert embedder.encode(texts).shape == (1503, 2)
    assert [len(body["input"]) for body in asked] == [1000, 501, 1, 1]
    assert [text for body in asked for text in body["input"]] == texts


def test_retry_after_is_waited_for() -> None:
    problem = {"status": 503, "detail": "full", "code": "overloaded"}
    full = [httpx2.Response(503, json=problem, headers={"retry-after": "1"})]
    embedder, asked = answering(lambda texts: full.pop() if full else ones(texts), remote_retries=1)
    started = time.monotonic()
    assert embedder.encode(["x"]).tolist() == [[1.0, 0.0]]
    assert time.monotonic() - started >= 1
    assert len(asked) == 2


REFUSED = {"status": 401, "detail": "revoked", "code": "unauthenticated"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            lambda: httpx2.Response(503, json={"status": 503, "detail": "queue full", "code": "overloaded"}),
            "queue full",
        ),
        (lambda: httpx2.Response(401, json=REFUSED), "refuses this server's key: revoked"),
        (lambda: httpx2.Response(200, text="<html>"), "what is not maas"),
        (lambda: httpx2.Response(502, text="<html>bad gateway"), "answered 502"),
        (lambda: httpx2.Response(200, json={"data": []}), "fingerprint: Field required"),
        (lambda: httpx2.Response(200, json=embedded()), r"shape \(0, 0\); expected \(1, 2\)"),
        (lambda: httpx2.Response(200, json=embedded([1.0, 0.0], [1.0, 0.0])), r"shape \(2, 2\)"),
        (lambda: httpx2.Response(200, json=embedded([1.0, 0.0, 0.0])), r"shape \(1, 3\)"),
        (lambda: httpx2.Response(200, json=embedded([3.0, 4.0])), "unit length"),
        (lambda: httpx2.Response(200, json=embedded([float("nan"), 0.0])), "unit length"),
        (
            lambda: httpx2.Response(200, json={"data": [{"index": 0, "embedding": "?"}], "fingerprint": "fake:2"}),
            "no base64",
        ),
        (
            lambda: httpx2.Response(200, json={"data": [{"index": 1, "embedding": ""}], "fingerprint": "fake:2"}),
            "out of order",
        ),
    ],
)
def test_an_answer_that_gives_no_vectors_is_not_ready_and_says_why(
    answer: Callable[[], httpx2.Response], said: str
) -> None:
    embedder, _ = answering(lambda _: answer())
    with pytest.raises(NotReadyError, match=said) as failure:
        embedder.encode(["x"])
    assert failure.value.retry_after
    assert failure.value.retry_after >= 1


def test_another_model_behind_the_address_is_refused() -> None:
    embedder, _ = answering(lambda _: httpx2.Response(200, json=embedded([1.0, 0.0], fingerprint="new:2")))
    with pytest.raises(FingerprintMismatchError, match=r"has become new:2; this server opened with fake:2"):
        embedder.encode(["x"])


def test_an_encoder_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """What needs a vector is 503 with Retry-After; words, lists and what is stored go on; nothing must be restarted."""
    away = threading.Event()
    fake = ContextualFakeEmbedder(dim=8)

    def answer(request: httpx2.Request) -> httpx2.Response:
        if away.is_set():
            raise httpx2.ConnectError("refused")
        if request.url.path == "/v1/models":
            return httpx2.Response(200, json=model(dim=8, contextual=True))
        body = json.loads(request.read())
        if request.url.path == "/encode":
            away.set()  # after the write was committed: its context cannot be read any more
            raise httpx2.ConnectError("refused")
        return httpx2.Response(200, json=embedded(*fake.encode(body["input"]).tolist()))

    inner = remote.build(remote_settings("http://encoder.test"), httpx2.MockTransport(answer))
    with serving(tmp_path, BatchingEmbedder(inner, lanes=2)) as live, live.http() as http:
        turns = [{"role": "user", "content": text} for text in ("I have a boat", "It lies in the harbour")]
        stored = http.post("/v1/memories", json={"user_id": "anna", "messages": turns, "session_id": "s"})
        assert stored.status_code == 201, "what is committed is acknowledged"
        for refused in (
            http.post("/v1/recall", json={"user_id": "anna", "query": "boat"}),
            http.post("/v1/memories", json={"user_id": "anna", "text": "new"}),
            http.get("/readyz"),
        ):
            assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
            assert int(refused.headers["retry-after"]) >= 1
        words = http.post("/v1/recall", json={"user_id": "anna", "query": "boat", "mode": "lexical"}).json()["results"]
        assert words[0]["text"] == "I have a boat"
        assert len(http.get("/v1/memories", params={"user_id": "anna"}).json()["results"]) == 2
        assert http.get("/healthz").status_code == 200
        away.clear()
        found = http.post("/v1/recall", json={"user_id": "anna", "query": "boat", "mode": "dense"}).json()["results"]
        assert found[0]["text"] == "I have a boat"


def test_what_was_stored_with_another_encoder_is_a_conflict(encoder: Live, tmp_path: Path) -> None:
    with serving(tmp_path, OtherFakeEmbedder()) as live, live.http() as http:
        http.post("/v1/memories", json={"user_id": "anna", "text": "I have a boat"}).raise_for_status()
    embedder = build_embedder(remote_settings(encoder.url, remote_key=encoder.admin_key))
    try:
        with serving(tmp_path, embedder) as live:
            key = live.key(scopes=["read"])
            with live.http(key) as http:
                answer = http.post("/v1/recall", json={"user_id": "anna", "query": "boat"})
        assert (answer.status_code, answer.json()["code"]) == (409, "fingerprint_mismatch")
    finally:
        embedder.close()


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"remote_url": None}, "embedder.remote_url is unset"),
        ({"remote_url": "encoder:8000"}, "expected the address of a maas server"),
        ({"remote_url": "http://127.0.0.1:1"}, "no answer from http://127.0.0.1:1.*start a maas server"),
        ({"remote_key_file": Path("/nowhere/key")}, "remote_key_file /nowhere/key cannot be read"),
        ({"remote_key": "maas_wrong_key"}, "refuses this server's key.*embedder.remote_key"),
        ({"remote_key": None}, "refuses this server's key: no API key"),
    ],
)
def test_a_start_that_cannot_work_says_what_to_set(encoder: Live, chosen: dict[str, Any], said: str) -> None:
    given = {"remote_url": encoder.url} | chosen
    with pytest.raises(EmbedderUnavailableError, match=said):
        build_embedder(remote_settings(given.pop("remote_url"), **given))


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, json={"data": [{"id": "text-embedding-3-small", "object": "model"}]}),
        httpx2.Response(200, json={"data": []}),
        httpx2.Response(404, text="nothing here"),
    ],
)
def test_a_server_that_is_not_maas_is_refused_at_the_start(answer: httpx2.Response) -> None:
    with pytest.raises(EmbedderUnavailableError, match="maas"):
        remote.build(remote_settings("http://other.test"), httpx2.MockTransport(lambda _: answer))


def test_reading_in_context_asks_for_an_encoder_that_can(tmp_path: Path) -> None:
    with serving(tmp_path, FakeEmbedder()) as live, live.http() as http:
        for body, field in (
            ({"texts": ["a"], "in_context": True}, "in_context"),
            ({"texts": ["a"], "window": 224}, "window"),
            ({"texts": ["a"], "in_context": True, "window": 1}, "window"),
        ):
            answer = http.post("/encode", json=body)
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
