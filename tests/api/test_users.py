from __future__ import annotations

import json

import httpx2
import pytest

from tests.api.problems import fields_of, problem_of
from tests.live import Live, someone

STRANGE = ["a/b", "50%", "x&y=z", "..", ".", "a/../b", "a/export", "名前 🐈", "?q#f", " padded "]


def encoded(user: str) -> str:
    return "".join(f"%{byte:02X}" for byte in user.encode())


@pytest.mark.parametrize("strange", STRANGE)
def test_a_user_of_any_name_is_exported_and_erased(http: httpx2.Client, strange: str) -> None:
    http.post("/v1/memories", json={"user_id": strange, "text": f"I am {strange}"})
    exported = http.get(f"/v1/users/{encoded(strange)}/export")
    assert exported.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in exported.text.splitlines()]
    assert lines[0]["user_id"] == strange
    assert [line["memory"]["text"] for line in lines[1:]] == [f"I am {strange}"]
    receipt = http.delete(f"/v1/users/{encoded(strange)}").json()
    assert receipt["user_id"] == strange
    assert receipt["before"]["memories"] == 1
    assert not any(receipt["after"].values())
    assert http.get("/v1/memories", params={"user_id": strange}).json()["results"] == []


def test_every_reader_of_lines_finds_the_same_in_an_export(http: httpx2.Client, user: str) -> None:
    text = "one\u2028two\u2029three\x85four"
    http.post("/v1/memories", json={"user_id": user, "text": text})
    answer = http.get(f"/v1/users/{user}/export")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines == [json.loads(line) for line in answer.content.rstrip(b"\n").split(b"\n")]
    assert lines[1]["memory"]["text"] == text


def test_export_and_import_round_trip(http: httpx2.Client, user: str) -> None:
    for n in range(30):
        http.post("/v1/memories", json={"user_id": user, "text": f"fact number {n}", "key": f"k{n}"})
    first = http.get("/v1/memories", params={"user_id": user}).json()["results"][0]["id"]
    http.patch(f"/v1/memories/{first}", json={"text": "a changed fact"})
    exported = http.get(f"/v1/users/{user}/export").content
    history = http.get(f"/v1/memories/{first}/history").json()
    http.delete(f"/v1/users/{user}")
    assert http.post("/v1/import", content=exported).json() == {"imported": 30, "skipped": 0, "reembedded": 0}
    assert http.get(f"/v1/memories/{first}/history").json() == history
    again = http.get(f"/v1/users/{user}/export").content
    assert again.splitlines()[1:] == exported.splitlines()[1:]
    assert http.post("/v1/import", content=exported).json() == {"imported": 0, "skipped": 30, "reembedded": 0}


@pytest.mark.parametrize(
    ("spoil", "status"),
    [(b"{", 400), (b"[1]", 400), (b'{"memory": {"id": 5}}', 422), (b"\xff\xff", 400), (b'{"n": NaN}', 400)],
)
def test_one_bad_line_imports_nothing_and_is_named(http: httpx2.Client, user: str, spoil: bytes, status: int) -> None:
    http.post("/v1/memories", json={"user_id": user, "text": "carried over"})
    lines = http.get(f"/v1/users/{user}/export").content
    other = someone()
    response = http.post("/v1/import", params={"user_id": other}, content=lines + spoil + b"\n")
    assert all(field.startswith("lines.2") for field in fields_of(response, status))
    assert http.get("/v1/memories", params={"user_id": other}).json()["results"] == []


def test_an_import_may_be_larger_than_a_request(http: httpx2.Client, user: str) -> None:
    http.post("/v1/memories", json={"user_id": user, "text": "carried over"})
    lines = http.get(f"/v1/users/{user}/export").content
    padded = lines + (b" " * 999 + b"\n") * 17_000
    assert http.post("/v1/import", params={"user_id": someone()}, content=padded).json()["imported"] == 1


def test_a_line_over_the_limit_is_too_large(http: httpx2.Client) -> None:
    problem_of(http.post("/v1/import", content=b" " * 17_000_000), 413, "payload_too_large")


def test_import_refuses_unknown_parameters(http: httpx2.Client) -> None:
    assert fields_of(http.post("/v1/import?colour=red"), 422) == {"colour"}


def test_users_are_listed_with_counts(http: httpx2.Client, live: Live, user: str) -> None:
    for text in ("one", "two"):
        http.post("/v1/memories", json={"user_id": user, "text": text}).raise_for_status()
    page = http.get("/v1/users", params={"matching": user[:20], "limit": 5}).json()
    (found,) = page["results"]
    assert (found["user_id"], found["memories"], found["documents"]) == (user, 2, 0)
    assert found["latest"]
    with live.http(live.key(user_id=user)) as narrowed:
        assert narrowed.get("/v1/users").status_code == 403
    with live.http(live.key(tenant="elsewhere")) as stranger:
        assert stranger.get("/v1/users").json() == {"results": [], "next_cursor": None}


def test_users_are_found_whatever_the_case_of_their_letters(http: httpx2.Client, user: str) -> None:
    name = f"ÄNNE {user}"
    http.post("/v1/memories", json={"user_id": name, "text": "hello"})
    for sought in (f"änne {user}", f"Änne {user}", name):
        found = http.get("/v1/users", params={"matching": sought}).json()["results"]
        assert [one["user_id"] for one in found] == [name], sought
