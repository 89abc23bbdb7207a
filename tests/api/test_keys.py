"""Who may do what: tenants, scopes, keys narrowed to a user."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest

from tests.api.problems import problem_of
from tests.live import Live, serving

ROUTES = [
    ("POST", "/v1/memories", "write"),
    ("POST", "/v1/memories/batch", "write"),
    ("POST", "/v1/recall", "read"),
    ("POST", "/v1/context", "read"),
    ("GET", "/v1/memories", "read"),
    ("GET", "/v1/memories/x", "read"),
    ("PATCH", "/v1/memories/x", "write"),
    ("DELETE", "/v1/memories/x", "write"),
    ("GET", "/v1/memories/x/history", "read"),
    ("POST", "/v1/documents", "write"),
    ("GET", "/v1/documents", "read"),
    ("GET", "/v1/documents/x", "read"),
    ("DELETE", "/v1/documents/x", "write"),
    ("GET", "/v1/users", "read"),
    ("DELETE", "/v1/users/x", "write"),
    ("GET", "/v1/users/x/export", "read"),
    ("POST", "/v1/import", "write"),
    ("POST", "/encode", "read"),
    ("POST", "/v1/embeddings", "read"),
    ("GET", "/v1/models", "read"),
    ("POST", "/v1/keys", "admin"),
    ("GET", "/v1/keys", "admin"),
    ("DELETE", "/v1/keys/x", "admin"),
    ("POST", "/v1/keys/x/rotate", "admin"),
    ("POST", "/v1/admin/reindex", "admin"),
    ("GET", "/v1/admin/reindex", "admin"),
    ("GET", "/v1/admin/audit", "admin"),
]


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_every_route_needs_a_key_with_its_scope(live: Live, method: str, path: str, scope: str) -> None:
    with live.http(None) as nobody:
        response = nobody.request(method, path)
        problem_of(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"].startswith("Bearer")
    others = [name for name in ("read", "write", "admin") if name != scope]
    with live.http(live.key(scopes=others)) as http:
        problem_of(http.request(method, path), 403, "forbidden")


def test_the_table_of_routes_is_whole(live: Live, http: httpx2.Client) -> None:
    described = http.get("/openapi.json").json()["paths"]
    asked = {(method, path.replace("/x", "/{}")) for method, path, _ in ROUTES}
    operations = {(method.upper(), re.sub(r"{\w+}", "{}", path)) for path, item in described.items() for method in item}
    assert {operation for operation in operations if operation[1].startswith(("/v1", "/encode"))} == asked


@pytest.mark.parametrize(
    "key", ["nonsense", "maas_a_b", "maas_aaaaaaaaaaaa_" + "b" * 32, "maas_é_x".encode().decode("latin-1")]
)
def test_a_wrong_key_is_refused(live: Live, key: str) -> None:
    headers = {"X-API-Key": key.encode("utf-8")}
    problem_of(httpx2.get(f"{live.url}/v1/keys", headers=headers), 401, "unauthenticated")


def test_a_key_goes_in_either_header(live: Live) -> None:
    for headers in ({"Authorization": f"bearer {live.admin_key}"}, {"X-API-Key": live.admin_key}):
        assert httpx2.get(f"{live.url}/v1/keys", headers=headers).status_code == 200


def test_keys_are_made_listed_and_revoked(live: Live, http: httpx2.Client) -> None:
    made = http.post("/v1/keys", json={"name": "phone", "scopes": ["read"]})
    assert made.status_code == 201
    key = made.json()
    with live.http(key["key"]) as phone:
        assert phone.get("/v1/memories", params={"user_id": "a"}).status_code == 200
        listed = http.get("/v1/keys").json()["results"]
        assert key["id"] in {entry["id"] for entry in listed}
        assert key["key"] not in str(listed)
        assert http.delete(f"/v1/keys/{key['id']}").json()["revoked_at"] is not None
        problem_of(phone.get("/v1/memories", params={"user_id": "a"}), 401)
    problem_of(http.delete("/v1/keys/nobody"), 404)


def test_tenants_do_not_see_each_other(live: Live, user: str) -> None:
    with live.http(live.key("red")) as red, live.http(live.key("blue", scopes=["read", "write", "admin"])) as blue:
        body = {"user_id": user, "text": "the secret of red"}
        memory_id = red.post("/v1/memories", json=body).json()["results"][0]["id"]
        unknown = problem_of(blue.get("/v1/memories/0123456789"), 404)["detail"].replace("0123456789", memory_id)
        assert problem_of(blue.get(f"/v1/memories/{memory_id}"), 404)["detail"] == unknown
        for method in ("PATCH", "DELETE"):
            content = b'{"text": "overwritten"}' if method == "PATCH" else None
            problem_of(blue.request(method, f"/v1/memories/{memory_id}", content=content), 404)
        problem_of(blue.get(f"/v1/memories/{memory_id}/history"), 404)
        assert blue.post("/v1/recall", json={"user_id": user, "query": "secret of red"}).json()["results"] == []
        assert blue.get("/v1/memories", params={"user_id": user}).json()["results"] == []
        assert not any(blue.delete(f"/v1/users/{user}").json()["before"].values())
        assert "red" not in {key["tenant"] for key in blue.get("/v1/keys").json()["results"]}
        assert red.get(f"/v1/memories/{memory_id}").json()["text"] == "the secret of red"


def test_a_narrowed_key_reaches_one_user(live: Live, http: httpx2.Client, user: str) -> None:
    other = f"{user}-other"
    theirs = http.post("/v1/memories", json={"user_id": other, "text": "not yours"}).json()["results"][0]["id"]
    both = {"memories": [{"user_id": user, "text": "x"}, {"user_id": other, "text": "y"}]}
    with live.http(live.key(scopes=["read", "write", "admin"], user_id=user)) as narrow:
        mine = narrow.post("/v1/memories", json={"user_id": user, "text": "mine"}).json()["results"][0]["id"]
        assert narrow.get(f"/v1/memories/{mine}").status_code == 200
        for method, path, body in [
            ("POST", "/v1/memories", {"user_id": other, "text": "x"}),
            ("POST", "/v1/memories/batch", both),
            ("POST", "/v1/recall", {"user_id": other, "query": "x"}),
            ("POST", "/v1/context", {"user_id": other, "query": "x", "max_tokens": 100}),
            ("GET", f"/v1/memories?user_id={other}", None),
            ("GET", f"/v1/memories/{theirs}?user_id={other}", None),
            ("GET", f"/v1/users/{other}/export", None),
            ("DELETE", f"/v1/users/{other}", None),
            ("POST", f"/v1/import?user_id={other}", None),
            ("POST", "/v1/keys", {"name": "wider"}),
            ("GET", "/v1/keys", None),
            ("POST", "/v1/admin/reindex", None),
        ]:
            problem_of(narrow.request(method, path, json=body), 403, "forbidden")
        for method in ("GET", "DELETE"):
            problem_of(narrow.request(method, f"/v1/memories/{theirs}"), 404)
        problem_of(narrow.patch(f"/v1/memories/{theirs}", json={"text": "x"}), 404)
        exported = http.get(f"/v1/users/{other}/export").content
        narrow.post("/v1/import", content=exported)
    assert [m["text"] for m in http.get("/v1/memories", params={"user_id": other}).json()["results"]] == ["not yours"]


def test_without_authentication_only_this_machine_may_ask(tmp_path: Path) -> None:
    with serving(tmp_path, auth={"enabled": False}) as live, live.http(None) as http:
        body = {"user_id": "a", "text": "open"}
        assert http.post("/v1/memories", json=body).status_code == 201
        assert http.post("/v1/memories", json=body, headers={"Origin": live.url}).status_code == 201
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
            problem_of(http.post("/v1/memories", json=body, headers=headers), 403, "forbidden")
            problem_of(http.get("/v1/memories?user_id=a", headers=headers), 403, "forbidden")


def test_no_page_of_another_origin_is_welcomed(http: httpx2.Client) -> None:
    for method in ("OPTIONS", "GET", "POST"):
        response = http.request(method, "/v1/memories", headers={"Origin": "https://evil.example"})
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_a_key_is_rotated(live: Live, http: httpx2.Client, user: str) -> None:
    old = http.post("/v1/keys", json={"name": "phone", "scopes": ["read"], "user_id": user}).json()
    answer = http.post(f"/v1/keys/{old['id']}/rotate", json={}, headers={"Idempotency-Key": f"rotate-{user}"})
    assert answer.status_code == 201
    new = answer.json()
    assert {name: new[name] for name in ("name", "scopes", "user_id")} == {
        name: old[name] for name in ("name", "scopes", "user_id")
    }
    query = {"user_id": user}
    with live.http(old["key"]) as before, live.http(new["key"]) as after:
        problem_of(before.get("/v1/memories", params=query), 401, "unauthenticated")
        assert after.get("/v1/memories", params=query).status_code == 200
        problem_of(after.post(f"/v1/keys/{new['id']}/rotate", json={}), 403, "forbidden")
    again = http.post(f"/v1/keys/{old['id']}/rotate", json={}, headers={"Idempotency-Key": f"rotate-{user}"})
    assert new["id"] in problem_of(again, 409, "conflict")["detail"]
    problem_of(http.post(f"/v1/keys/{old['id']}/rotate", json={}), 404)
    with live.http(live.key("elsewhere", scopes=["admin"])) as other:
        problem_of(other.post(f"/v1/keys/{new['id']}/rotate", json={}), 404)


def test_an_old_key_may_go_on_for_a_while(live: Live, http: httpx2.Client) -> None:
    old = http.post("/v1/keys", json={"scopes": ["read"]}).json()
    new = http.post(f"/v1/keys/{old['id']}/rotate", json={"grace_seconds": 3600}).json()
    for key in (old, new):
        with live.http(key["key"]) as either:
            assert either.get("/v1/memories", params={"user_id": "a"}).status_code == 200
    kept = {key["id"]: key for key in http.get("/v1/keys").json()["results"]}
    assert kept[old["id"]]["expires_at"] is not None
    assert kept[new["id"]]["expires_at"] is None
    problem_of(http.post(f"/v1/keys/{new['id']}/rotate", json={"grace_seconds": -1}), 422)


def test_a_revoked_key_is_refused_by_every_process_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as one, serving(tmp_path) as two, one.http() as admin:
        made = admin.post("/v1/keys", json={"scopes": ["read"]}).json()
        with two.http(made["key"]) as elsewhere:
            assert elsewhere.get("/v1/memories", params={"user_id": "a"}).status_code == 200
            admin.delete(f"/v1/keys/{made['id']}")
            problem_of(elsewhere.get("/v1/memories", params={"user_id": "a"}), 401, "unauthenticated")


def test_a_key_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    with serving(tmp_path, server={"requests_per_minute": 5}) as live, live.http() as http:
        for _ in range(5):
            assert http.get("/v1/memories", params={"user_id": "a"}).status_code == 200
        refused = http.get("/v1/memories", params={"user_id": "a"})
        problem_of(refused, 429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert http.get("/readyz").status_code == 200
        with live.http(live.key()) as other:
            assert other.get("/v1/memories", params={"user_id": "a"}).status_code == 200, "each key has its own window"
