"""Everything a body can get wrong: a problem that names the field, and nothing written."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.api.problems import fields_of, problem_of
from tests.live import Live


def count(http: httpx2.Client, user: str) -> int:
    return len(http.get("/v1/memories", params={"user_id": user}).json()["results"])


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("text", "", "text"),
        ("text", " \n\t ", "text"),
        ("text", "nul \x00 inside", "text"),
        ("text", 5, "text"),
        ("text", ["a"], "text"),
        ("text", None, "text"),
        ("user_id", "", "user_id"),
        ("user_id", 7, "user_id"),
        ("user_id", "x" * 257, "user_id"),
        ("user_id", "line\nbreak", "user_id"),
        ("metadata", [], "metadata"),
        ("metadata", {"n": 2**70}, "metadata"),
        ("metadata", {"a": {"b": "\x00"}}, "metadata"),
        ("importance", 1.5, "importance"),
        ("importance", "0.5", "importance"),
        ("importance", True, "importance"),
        ("created_at", "yesterday", "created_at"),
        ("created_at", 1_700_000_000, "created_at"),
        ("created_at", "1700000000", "created_at"),
        ("created_at", "9999-12-31T23:59:59-12:00", "created_at"),
        ("dedupe", "sometimes", "dedupe"),
        ("messages", [{"role": "user", "content": "both"}], "text"),
        ("colour", "red", "colour"),
        ("tenant", "other", "tenant"),
    ],
)
def test_store_names_the_field(http: httpx2.Client, user: str, field: str, value: object, named: str) -> None:
    body = {"user_id": user, "text": "fine", field: value}
    assert named in fields_of(http.post("/v1/memories", json=body), 422)
    assert count(http, user) == 0


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("query", " ", "query"),
        ("top_k", 0, "top_k"),
        ("top_k", 10**6, "top_k"),
        ("top_k", "10", "top_k"),
        ("top_k", True, "top_k"),
        ("limit", 0, "top_k"),
        ("mode", "telepathy", "mode"),
        ("min_score", 2, "min_score"),
        ("filters", [], "filters"),
        ("include_superseded", "yes", "include_superseded"),
        ("as_of", "2024-02-30", "as_of"),
    ],
)
def test_recall_names_the_field(http: httpx2.Client, user: str, field: str, value: object, named: str) -> None:
    body = {"user_id": user, "query": "anything", field: value}
    assert named in fields_of(http.post("/v1/recall", json=body), 422)


def test_text_over_the_limit_is_too_large(http: httpx2.Client, user: str) -> None:
    response = http.post("/v1/memories", json={"user_id": user, "text": "x" * 10_000_000})
    assert problem_of(response, 413, "payload_too_large")["errors"][0]["field"] == "text"
    assert count(http, user) == 0


@pytest.mark.parametrize(
    ("literal", "field"),
    [
        ('"text": "x", "metadata": {"n": NaN}', "metadata"),
        ('"text": "x", "metadata": {"n": -Infinity}', "metadata"),
        ('"text": "x", "metadata": {"n": 1e999}', "metadata"),
        ('"text": "x", "importance": NaN', "importance"),
        ('"text": "lone \\ud83d surrogate"', "text"),
        ('"text": "x", "metadata": {"\\udc00": 1}', "metadata"),
    ],
)
def test_what_json_cannot_say_is_refused_by_field(http: httpx2.Client, user: str, literal: str, field: str) -> None:
    response = http.post("/v1/memories", content=f'{{"user_id": "{user}", {literal}}}')
    assert field in fields_of(response, 422)
    assert count(http, user) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"user_id": "a", "text": "cut o',
        b"not json",
        b"\xff\xfe",
        b'{"user_id": "a", "text": "\xc3\x28"}',
        b"[" * 100_000,
        b'{"user_id": ' + b"9" * 100_000 + b"}",
    ],
)
def test_what_is_no_json_is_malformed(http: httpx2.Client, body: bytes) -> None:
    for path in ("/v1/memories", "/v1/recall", "/v1/memories/batch", "/encode", "/v1/embeddings", "/v1/keys"):
        problem_of(http.post(path, content=body), 400, "malformed_request")


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"5"])
def test_json_that_is_no_object_is_invalid(http: httpx2.Client, body: bytes) -> None:
    problem_of(http.post("/v1/memories", content=body), 422, "invalid_input")


@pytest.mark.parametrize(("depth", "status"), [(40, 422), (1_000, 400), (100_000, 400)])
@pytest.mark.parametrize(("path", "field"), [("/v1/recall", "filters"), ("/v1/memories", "metadata")])
def test_deep_nesting_names_the_field(
    http: httpx2.Client, user: str, path: str, field: str, depth: int, status: int
) -> None:
    nested = '{"NOT":' * depth + '{"metadata.a":1}' + "}" * depth
    other = '"query":"x"' if path == "/v1/recall" else '"text":"x"'
    response = http.post(path, content=f'{{"user_id":"{user}",{other},"{field}":{nested}}}')
    assert any(name.startswith(field) for name in fields_of(response, status))


def test_a_body_cut_off_writes_nothing(live: Live, http: httpx2.Client, user: str) -> None:
    body = json.dumps({"user_id": user, "text": "the whole text"}).encode()
    address = urlsplit(live.url)
    head = (
        f"POST /v1/memories HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {live.admin_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body) + 10}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65_536)
    assert b" 201 " not in answer
    assert count(http, user) == 0


def test_a_body_over_the_limit_is_refused_announced_or_chunked(live: Live, http: httpx2.Client) -> None:
    limit = live.brain.settings.server.max_body_bytes

    def chunks() -> Iterator[bytes]:
        for _ in range(limit // 1_000_000 + 2):
            yield b" " * 1_000_000

    problem_of(http.post("/v1/memories", content=b" " * (limit + 1)), 413, "payload_too_large")
    problem_of(http.post("/v1/memories", content=chunks()), 413, "payload_too_large")
    assert http.get("/healthz").status_code == 200


def test_text_of_every_script_comes_back_as_it_went_in(http: httpx2.Client, user: str) -> None:
    text = "שלום 👩‍👩‍👧 日本語 \u202ereversed\u202c ﷽ é é"
    response = http.post("/v1/memories", json={"user_id": user, "text": text})
    assert response.status_code == 201
    assert http.get("/v1/memories", params={"user_id": user}).json()["results"][0]["text"] == text


def test_an_expired_memory_is_neither_recalled_nor_listed(http: httpx2.Client, user: str) -> None:
    body = {"user_id": user, "text": "gone already", "expires_at": "2001-01-01T00:00:00Z"}
    assert http.post("/v1/memories", json=body).status_code == 201
    assert count(http, user) == 0
    assert http.post("/v1/recall", json={"user_id": user, "query": "gone already"}).json()["results"] == []


def test_a_date_without_zone_is_utc(http: httpx2.Client, user: str) -> None:
    body = {"user_id": user, "text": "long ago", "created_at": "2020-02-29T12:00:00"}
    http.post("/v1/memories", json=body)
    listed = http.get("/v1/memories", params={"user_id": user}).json()["results"]
    assert listed[0]["created_at"] == "2020-02-29T12:00:00Z"
