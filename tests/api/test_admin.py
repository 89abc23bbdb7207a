from __future__ import annotations

import time
from pathlib import Path

import httpx2
import pytest

from maas import PersonalMemoryBrain
from maas.api import reindexing
from maas.settings import Settings
from tests.fakes import FakeEmbedder, OtherFakeEmbedder
from tests.live import serving


def finished(http: httpx2.Client) -> dict[str, object]:
    for _ in range(200):
        status: dict[str, object] = http.get("/v1/admin/reindex").json()
        if status["state"] != "running":
            return status
        time.sleep(0.05)
    raise AssertionError("the reindex did not end")


def test_a_switched_embedder_is_refused_until_reindexed(tmp_path: Path) -> None:
    with serving(tmp_path, FakeEmbedder()) as live:
        key = live.admin_key
        with live.http() as http:
            body = {"memories": [{"user_id": "a", "text": f"fact number {n}"} for n in range(100)]}
            assert http.post("/v1/memories/batch", json=body).status_code == 201
    with serving(tmp_path, OtherFakeEmbedder()) as live, live.http(key) as http:
        recall = {"user_id": "a", "query": "fact number 7", "top_k": 1}
        refused = http.post("/v1/recall", json=recall)
        assert (refused.status_code, refused.json()["code"]) == (409, "fingerprint_mismatch")
        assert http.post("/v1/recall", json={**recall, "mode": "lexical"}).status_code == 200
        started = http.post("/v1/admin/reindex")
        assert started.status_code == 202
        status = finished(http)
        assert (status["state"], status["done"], status["total"]) == ("done", 100, 100)
        assert http.post("/v1/recall", json=recall).json()["results"][0]["text"] == "fact number 7"


def test_a_server_goes_on_with_a_run_that_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindexing, "LOOK_SECONDS", 0.05)
    settings = Settings(data_dir=tmp_path)
    with PersonalMemoryBrain(settings, embedder=FakeEmbedder()) as brain:
        brain.store_batch([{"user_id": "a", "text": f"fact number {n}"} for n in range(100)])

    def cut_off(_: object) -> None:
        raise KeyboardInterrupt

    with PersonalMemoryBrain(settings, embedder=OtherFakeEmbedder()) as brain:
        with pytest.raises(KeyboardInterrupt):
            brain.reindex(on_progress=cut_off)
        assert brain.reindex_status().state == "interrupted"
    with serving(tmp_path, OtherFakeEmbedder()) as live:
        deadline = time.monotonic() + 30
        while live.brain.reindex_status().state != "done":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert live.brain.reindex_status().done == 100


def test_a_server_that_never_ran_one_starts_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindexing, "LOOK_SECONDS", 0.02)
    with PersonalMemoryBrain(Settings(data_dir=tmp_path), embedder=FakeEmbedder()) as brain:
        brain.store("a fact", user_id="a")
    with serving(tmp_path, OtherFakeEmbedder()) as live:
        time.sleep(0.2)
        assert live.brain.reindex_status().state == "idle"


def test_openapi_describes_bodies_problems_and_security(tmp_path: Path) -> None:
    with serving(tmp_path) as live, live.http() as http:
        schema = http.get("/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    store = schema["paths"]["/v1/memories"]["post"]
    body = store["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/StoreRequest"}
    assert body["example"]["user_id"]
    assert "StoreRequest" in schema["components"]["schemas"]
    assert store["responses"]["201"]["content"]["application/json"]["schema"]["$ref"].endswith("/StoreResponse")
    assert "application/problem+json" in store["responses"]["422"]["content"]
    assert {p["name"] for p in store["parameters"]} == {"Idempotency-Key"}
    listing = schema["paths"]["/v1/memories"]["get"]["parameters"]
    assert {p["name"] for p in listing if p["required"]} == {"user_id"}
    assert schema["paths"]["/healthz"]["get"]["security"] == []
    known = schema["components"]["schemas"]
    assert all(ref.rsplit("/", 1)[1] in known for ref in references(schema))


def references(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(references(value) for value in node))
    return set()
