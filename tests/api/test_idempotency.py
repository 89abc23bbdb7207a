from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx2

from tests.api.problems import fields_of, problem_of
from tests.live import Live, someone


def key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": name}


def test_a_repeated_store_happens_once(http: httpx2.Client, user: str) -> None:
    body = {"user_id": user, "text": "once", "dedupe": "off"}
    first = http.post("/v1/memories", json=body, headers=key(user))
    again = http.post("/v1/memories", json=body, headers=key(user))
    assert (again.status_code, again.json()) == (201, first.json())
    other = http.post("/v1/memories", json={**body, "text": "twice"}, headers=key(user))
    problem_of(other, 409, "idempotency_conflict")
    assert len(http.get("/v1/memories", params={"user_id": user}).json()["results"]) == 1


def test_a_key_belongs_to_one_route(http: httpx2.Client, user: str) -> None:
    body = {"user_id": user, "text": "once"}
    stored = http.post("/v1/memories", json=body, headers=key(user)).json()["results"][0]["id"]
    changed = http.patch(f"/v1/memories/{stored}", json={"text": "other"}, headers=key(user))
    problem_of(changed, 409, "idempotency_conflict")


def test_a_repeated_batch_happens_once(http: httpx2.Client, user: str) -> None:
    body = {"memories": [{"user_id": user, "text": f"item {n}", "dedupe": "off"} for n in range(3)]}
    answers = [http.post("/v1/memories/batch", json=body, headers=key(user)).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(http.get("/v1/memories", params={"user_id": user}).json()["results"]) == 3


def test_repeats_that_arrive_together_happen_once(http: httpx2.Client, user: str) -> None:
    body = {"user_id": user, "text": "at once", "dedupe": "off"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: http.post("/v1/memories", json=body, headers=key(user)), range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert len(http.get("/v1/memories", params={"user_id": user}).json()["results"]) == 1


def test_a_repeated_import_answers_as_the_first(http: httpx2.Client, user: str) -> None:
    http.post("/v1/memories", json={"user_id": user, "text": "carried over"})
    lines = http.get(f"/v1/users/{user}/export").content
    other = someone()
    answers = [
        http.post("/v1/import", params={"user_id": other}, content=lines, headers=key(other)).json() for _ in range(2)
    ]
    assert answers == [{"imported": 1, "skipped": 0, "reembedded": 0}] * 2
    problem_of(http.post("/v1/import", content=lines, headers=key(other)), 409, "idempotency_conflict")


def test_a_repeated_key_request_makes_one_key(http: httpx2.Client, user: str) -> None:
    made = http.post("/v1/keys", json={"name": user}, headers=key(user)).json()
    again = problem_of(http.post("/v1/keys", json={"name": user}, headers=key(user)), 409, "conflict")
    assert made["id"] in again["detail"]
    assert made["key"] not in again["detail"]
    assert len([k for k in http.get("/v1/keys").json()["results"] if k["name"] == user]) == 1


def test_tenants_do_not_share_keys(live: Live, user: str) -> None:
    for tenant in ("left", "right"):
        with live.http(live.key(tenant)) as http:
            body = {"user_id": user, "text": f"only in {tenant}"}
            assert http.post("/v1/memories", json=body, headers=key(user)).json()["results"][0]["event"] == "ADD"


def test_an_overlong_key_is_refused(http: httpx2.Client, user: str) -> None:
    response = http.post("/v1/memories", json={"user_id": user, "text": "x"}, headers=key("k" * 257))
    assert fields_of(response, 422) == {"Idempotency-Key"}
