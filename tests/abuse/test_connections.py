"""Clients that mean harm, on a real server: it answers them clearly or hangs up, and goes on serving the others."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.api.problems import problem_of
from tests.live import Live, serving, someone

pytestmark = pytest.mark.server

PATIENCE = 1.0
ACCEPT = {"Accept": "application/json, text/event-stream"}
POSTS = ("/v1/memories", "/v1/memories/batch", "/v1/recall", "/v1/documents", "/v1/import", "/encode", "/mcp")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    server = {"patience_seconds": PATIENCE, "max_body_bytes": 1_000_000}
    with serving(tmp_path_factory.mktemp("data"), server=server) as live:
        yield live


@pytest.fixture
def http(live: Live) -> Iterator[httpx2.Client]:
    with live.http() as http:
        yield http


def connect(live: Live) -> socket.socket:
    address = urlsplit(live.url)
    return socket.create_connection((address.hostname, address.port), timeout=10)


def head(live: Live, path: str, *lines: str) -> bytes:
    common = ("Host: x", f"Authorization: Bearer {live.admin_key}", "Content-Type: application/json", *lines)
    return "\r\n".join([f"POST {path} HTTP/1.1", *common, "", ""]).encode()


def rest(connection: socket.socket) -> bytes:
    """Everything until the server hangs up."""
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def test_headers_that_dribble_in_are_given_up_and_nobody_waits(live: Live, http: httpx2.Client) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(live)) for _ in range(60)]
        started = time.monotonic()
        for number, connection in enumerate(slow):
            if number % 3:
                connection.sendall(b"POST /v1/recall HTTP/1.1\r\nHost: x\r\n")
        while time.monotonic() < started + 0.8 * PATIENCE:
            for connection in slow[::2]:
                with suppress(OSError):
                    connection.sendall(b"X-A: b\r\n" if connection is not slow[0] else b"P")
            assert http.get("/v1/keys").status_code == 200
            time.sleep(0.1)
        answers = [rest(connection) for connection in slow]
        assert time.monotonic() - started < 8 * PATIENCE
    assert all(b"408 Request Timeout" in answer and b"patience_seconds" in answer for answer in answers[1::2])


@pytest.mark.parametrize("path", ["/v1/memories", "/v1/import", "/mcp"])
@pytest.mark.parametrize("length", ["Content-Length: 500", "Transfer-Encoding: chunked"])
def test_a_body_that_stops_coming_is_given_up(live: Live, path: str, length: str) -> None:
    with connect(live) as connection:
        connection.sendall(head(live, path, length, "Accept: application/json, text/event-stream"))
        connection.sendall(b'40\r\n{"user_id": "a", "text": "the beg' if "chunked" in length else b'{"user_id": "a')
        started = time.monotonic()
        answer = rest(connection)
    assert b" 408 " in answer.split(b"\r\n")[0], answer
    assert b"request_timeout" in answer
    assert time.monotonic() - started < 8 * PATIENCE


def test_a_body_that_trickles_is_given_up_however_long_it_goes_on(live: Live) -> None:
    with connect(live) as connection:
        connection.sendall(head(live, "/v1/memories", "Content-Length: 100000"))
        started = time.monotonic()
        with suppress(OSError):  # hung up on
            while time.monotonic() < started + 8 * PATIENCE:
                connection.sendall(b" ")
                time.sleep(0.1)
        assert time.monotonic() - started < 6 * PATIENCE


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Endless: " + b"a" * 400_000,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20_000)),
        b"GET /healthz?" + b"a=b&" * 100_000,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
    ids=["one without end", "very many", "a long address", "one too long"],
)
def test_headers_without_end_are_refused(live: Live, http: httpx2.Client, flood: bytes) -> None:
    with connect(live) as connection:
        with suppress(OSError):  # it does not listen to the end
            connection.sendall(flood)
        answer = rest(connection)
    assert not answer or b" 431 " in answer.split(b"\r\n")[0], answer[:300]
    assert http.get("/healthz").status_code == 200


def test_an_address_that_is_just_not_too_long_is_answered(http: httpx2.Client) -> None:
    assert http.get("/healthz", headers={"X-Long": "a" * 60_000}).status_code == 200


@pytest.mark.parametrize(
    "noise",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00" * 100, b"GET / HTTP/9.9\r\n\r\n", b"hello\r\n\r\n"],
)
def test_what_is_no_http_is_malformed(live: Live, noise: bytes) -> None:
    with connect(live) as connection:
        connection.sendall(noise)
        answer = rest(connection)
    start, _, body = answer.partition(b"\r\n\r\n")
    assert b" 400 " in start.split(b"\r\n")[0]
    assert json.loads(body)["code"] == "malformed_request"


@pytest.mark.parametrize("path", POSTS)
def test_a_compressed_body_is_refused_and_not_unpacked(http: httpx2.Client, path: str) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    for encoding in ("gzip", "deflate, gzip", "br"):
        answer = http.post(path, content=bomb, headers={"Content-Encoding": encoding, **ACCEPT})
        problem_of(answer, 415, "unsupported_encoding")


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("body", [b"[" * 400_000, b'{"a":' * 100_000, b'{"params":' * 200 + b"1" + b"}" * 200])
def test_deeply_nested_bodies_are_refused(http: httpx2.Client, path: str, body: bytes) -> None:
    answer = http.post(path, content=body, headers={"Content-Type": "application/json", **ACCEPT})
    assert 400 <= answer.status_code < 500, answer.text


@pytest.mark.parametrize("path", [path for path in POSTS if path != "/v1/import"])
def test_a_body_without_end_is_cut_off(http: httpx2.Client, path: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(3):
            yield b" " * 600_000

    problem_of(http.post(path, content=endless(), headers=ACCEPT), 413, "payload_too_large")


def test_an_import_line_without_end_is_cut_off(http: httpx2.Client) -> None:
    problem_of(http.post("/v1/import", content=b'{"a":"' + b"a" * 3_000_000), 413, "payload_too_large")


def test_two_lengths_are_not_two_requests(live: Live, http: httpx2.Client) -> None:
    """A body that one reader would take for the next request (request smuggling)."""
    user = someone()
    hidden = head(live, "/v1/memories", "Content-Length: 60") + json.dumps({"user_id": user, "text": "x"}).encode()
    for lines in (
        ("Content-Length: 4", f"Content-Length: {len(hidden)}"),
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked, identity",),
    ):
        with connect(live) as connection:
            connection.sendall(head(live, "/v1/recall", *lines) + b"0\r\n\r\n" + hidden)
            answer = rest(connection)
        assert b" 201 " not in answer, answer
    assert http.get("/v1/memories", params={"user_id": user}).json()["results"] == []
