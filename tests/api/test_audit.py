"""The audit log as an administrator reads it."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.live import Live, someone


def entries(http: httpx2.Client, **query: Any) -> list[dict[str, Any]]:
    answer = http.get("/v1/admin/audit", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def test_every_write_leaves_an_entry(live: Live, http: httpx2.Client, user: str) -> None:
    made = http.post("/v1/memories", json={"user_id": user, "text": "a secret of theirs"}).json()["results"][0]["id"]
    http.post("/v1/memories", json={"user_id": user, "text": "a secret of theirs"})  # known: nothing is written
    batch = [{"user_id": user, "text": f"note {n}"} for n in range(3)]
    http.post("/v1/memories/batch", json={"memories": batch})
    http.patch(f"/v1/memories/{made}", json={"text": "another secret"})
    http.delete(f"/v1/memories/{made}")
    lines = http.get(f"/v1/users/{user}/export").text
    http.delete(f"/v1/users/{user}")
    http.post("/v1/import", content=lines)
    found = entries(http, user_id=user)
    assert [(e["action"], e["count"]) for e in found] == [
        ("import", 3), ("erase", 3), ("delete", 1), ("update", 1), ("store", 3), ("store", 1),
    ]  # fmt: skip
    actor = live.admin_key.split("_")[1]
    assert {(e["actor"], e["outcome"]) for e in found} == {(actor, "done")}
    assert found[2]["subject"] == made
    assert "secret" not in str(found)


def test_refusals_are_kept(live: Live, http: httpx2.Client, user: str) -> None:
    theirs = http.post("/v1/memories", json={"user_id": user, "text": "private"}).json()["results"][0]["id"]
    key = live.key(user_id=someone())
    actor = key.split("_")[1]
    with live.http(key) as narrowed:
        assert narrowed.post("/v1/recall", json={"user_id": user, "query": "private"}).status_code == 403
        assert narrowed.get(f"/v1/users/{user}/export").status_code == 403
        assert narrowed.get(f"/v1/memories/{theirs}").status_code == 404
        assert narrowed.get("/v1/admin/audit").status_code == 403
    found = entries(http, actor=actor, outcome="refused")
    assert [(e["action"], e["user_id"], e["subject"]) for e in reversed(found)] == [
        ("POST /v1/recall", user, None),
        ("GET /v1/users/{user_id}/export", user, None),
        ("GET /v1/memories/{memory_id}", None, theirs),
        ("GET /v1/admin/audit", None, None),
    ]


def test_other_tenants_see_their_own_only(live: Live, http: httpx2.Client, user: str) -> None:
    http.post("/v1/memories", json={"user_id": user, "text": "ours"})
    with live.http(live.key(tenant="audited", scopes=["admin"])) as other:
        assert [e["action"] for e in entries(other)] == ["create key"]
        assert entries(other, user_id=user) == []


def test_keys_in_the_log(live: Live, http: httpx2.Client) -> None:
    made = http.post("/v1/keys", json={"name": "n"}).json()
    http.delete(f"/v1/keys/{made['id']}")
    actions = [(e["action"], e["subject"]) for e in entries(http, limit=2)]
    assert actions == [("revoke key", made["id"]), ("create key", made["id"])]
    assert made["key"] not in str(entries(http))


def test_pages(http: httpx2.Client, user: str) -> None:
    for n in range(5):
        http.post("/v1/memories", json={"user_id": user, "text": f"note {n}"})
    seen, cursor = [], None
    while True:
        query = {"user_id": user, "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = http.get("/v1/admin/audit", params=query).json()
        seen += [e["number"] for e in page["results"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("query", [{"limit": 0}, {"cursor": "x"}, {"outcome": "maybe"}, {"since": "1"}, {"nope": "1"}])
def test_bad_queries_are_named(http: httpx2.Client, query: dict[str, Any]) -> None:
    answer = http.get("/v1/admin/audit", params=query)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] in query
