"""When a call is sent again, what it carries then, and when it is given up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx2
import pytest

from maas.client import AsyncMaasClient, MaasClient
from maas.errors import (
    InvalidInputError,
    MaasError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    TransportError,
    UnavailableError,
)

STORED = {"results": [{"id": "1", "text": "x", "event": "ADD"}]}
NOW = datetime(2026, 1, 1, tzinfo=UTC)

Answer = httpx2.Response | Exception


def refusal(status: int, code: str, **headers: str) -> httpx2.Response:
    problem = {"type": "t", "title": "t", "status": status, "detail": "no", "code": code}
    content = json.dumps(problem).encode()
    return httpx2.Response(status, content=content, headers={"content-type": "application/problem+json", **headers})


class Script:
    """Answers in turn, and keeps what was asked and how long was waited."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.bodies: list[bytes] = []
        self.waits: list[float] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        self.bodies.append(request.read())
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, retries: int = 3) -> MaasClient:
        return MaasClient(
            "http://maas.test",
            retries=retries,
            transport=httpx2.MockTransport(self),
            clock=lambda: NOW,
            sleep=self.waits.append,
            jitter=lambda low, high: high,
        )

    @property
    def keys(self) -> set[str | None]:
        return {request.headers.get("idempotency-key") for request in self.requests}


def stored() -> httpx2.Response:
    return httpx2.Response(201, json=STORED)


@pytest.mark.parametrize(
    "failure",
    [
        lambda: httpx2.ConnectError("refused"),
        lambda: httpx2.ConnectTimeout("late"),
        lambda: httpx2.ReadTimeout("late"),
        lambda: httpx2.RemoteProtocolError("cut off"),
        lambda: refusal(503, "overloaded"),
        lambda: refusal(429, "rate_limited"),
        lambda: httpx2.Response(502, text="bad gateway"),
    ],
)
def test_a_write_is_sent_again_with_the_same_key(failure: Callable[[], Answer]) -> None:
    script = Script(failure(), failure(), stored())
    with script.client() as client:
        assert client.store("x", user_id="a").results[0].id == "1"
    assert len(script.requests) == 3
    assert len(script.keys) == 1
    assert None not in script.keys
    assert len(set(script.bodies)) == 1
    assert script.waits == [0.25, 0.5]


def test_each_call_has_a_key_of_its_own_unless_given() -> None:
    script = Script(stored(), stored(), stored())
    with script.client() as client:
        client.store("x", user_id="a")
        client.store("x", user_id="a")
        client.store("x", user_id="a", idempotency_key="mine")
    assert len(script.keys) == 3
    assert "mine" in script.keys


@pytest.mark.parametrize("key", ["", "schlüssel", "a\nb", "x" * 257])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    script = Script()
    with script.client() as client, pytest.raises(InvalidInputError, match="idempotency_key must be"):
        client.store("x", user_id="a", idempotency_key=key)


def test_every_writing_post_carries_a_key_and_reading_ones_do_not() -> None:
    key = {"id": "k", "tenant": "t", "name": "n", "scopes": [], "created_at": "2026-01-01T00:00:00Z", "key": "s"}
    report = {"imported": 0, "skipped": 0, "reembedded": 0}
    recalled = {"results": [], "took_ms": 1}
    answers = [httpx2.Response(200, json=body) for body in (STORED, STORED, key, report, recalled)]
    script = Script(*answers)
    with script.client() as client:
        client.store_messages([{"role": "user", "content": "x"}], user_id="a")
        client.store_batch([{"user_id": "a", "text": "x"}])
        client.create_key(name="n")
        client.import_memories([])
        client.recall("x", user_id="a")
    assert ["idempotency-key" in request.headers for request in script.requests] == [True] * 4 + [False]


def test_an_import_is_sent_whole_again() -> None:
    report = httpx2.Response(200, json={"imported": 2, "skipped": 0, "reembedded": 0})
    script = Script(httpx2.ReadTimeout("late"), report)
    with script.client() as client:
        assert client.import_memories(line for line in [{"a": 1}, {"b": "é"}]).imported == 2
    assert script.bodies == [b'{"a":1}\n{"b":"\xc3\xa9"}\n'] * 2


@pytest.mark.parametrize(
    ("header", "wait"), [("2", 2.0), ("0", 0.0), ("Thu, 01 Jan 2026 00:00:07 GMT", 7.0), ("soon", 0.25)]
)
def test_retry_after_is_honoured(header: str, wait: float) -> None:
    script = Script(refusal(429, "rate_limited", **{"retry-after": header}), stored())
    with script.client() as client:
        client.store("x", user_id="a")
    assert script.waits == [wait]


def test_a_server_that_asks_for_no_patience_has_an_end_too() -> None:
    script = Script(*(refusal(503, "unavailable", **{"retry-after": "0"}) for _ in range(400)))
    with script.client() as client, pytest.raises(UnavailableError):
        client.store("x", user_id="a")
    assert sum(script.waits) <= 60


@pytest.mark.parametrize("call", ["delete", "delete_document", "erase_user"])
@pytest.mark.parametrize(
    "silence", [lambda: httpx2.ReadTimeout("late"), lambda: httpx2.Response(504, text="gateway timeout")]
)
def test_a_deletion_that_may_have_happened_is_not_sent_again(call: str, silence: Callable[[], Answer]) -> None:
    gone = httpx2.Response(200, json={"id": "1", "event": "DELETE"})
    script = Script(silence(), gone)
    with script.client() as client, pytest.raises(TransportError):
        getattr(client, call)("1")
    assert len(script.requests) == 1
    script = Script(httpx2.ConnectError("refused"), refusal(503, "overloaded"), gone)
    with script.client() as client:
        assert client.delete("1").id == "1"
    assert len(script.requests) == 3


def test_an_import_is_waited_for_as_long_as_it_takes() -> None:
    script = Script(httpx2.Response(200, json={"imported": 0, "skipped": 0, "reembedded": 0}), stored())
    with script.client() as client:
        client.import_memories([])
        client.store("x", user_id="a")
    assert [request.extensions["timeout"]["read"] for request in script.requests] == [None, 30.0]


def test_more_patience_than_a_minute_is_not_had() -> None:
    script = Script(refusal(429, "rate_limited", **{"retry-after": "3600"}))
    with script.client() as client, pytest.raises(RateLimitedError) as caught:
        client.store("x", user_id="a")
    assert caught.value.retry_after == 3600
    assert script.waits == []


def test_a_server_that_says_when_to_come_back_is_given_a_minute() -> None:
    refusals = [refusal(503, "unavailable", **{"retry-after": "7"}) for _ in range(8)]
    script = Script(*refusals, stored())
    with script.client() as client:
        client.store("x", user_id="a")
    assert script.waits == [7.0] * 8, "as when a database changes its primary"
    script = Script(*[refusal(503, "unavailable", **{"retry-after": "7"}) for _ in range(9)])
    with script.client() as client, pytest.raises(UnavailableError):
        client.store("x", user_id="a")
    assert sum(script.waits) == 56
    script = Script(refusal(503, "unavailable", **{"retry-after": "7"}))
    with script.client(retries=0) as client, pytest.raises(UnavailableError):
        client.store("x", user_id="a")
    assert script.waits == []


def test_it_gives_up_with_the_last_error() -> None:
    script = Script(*(refusal(503, "overloaded") for _ in range(3)))
    with script.client(retries=2) as client, pytest.raises(OverloadedError):
        client.store("x", user_id="a")
    script = Script(*(httpx2.ConnectError("refused") for _ in range(3)))
    with script.client(retries=2) as client, pytest.raises(TransportError, match="refused"):
        client.store("x", user_id="a")
    assert len(script.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500])
def test_a_refusal_is_not_tried_again(status: int) -> None:
    script = Script(refusal(status, "not_found"))
    with script.client() as client, pytest.raises(NotFoundError):
        client.get("1")
    assert script.waits == []


def test_an_answer_that_is_not_maas_is_a_transport_error() -> None:
    for answer in (httpx2.Response(200, text="<html>"), httpx2.Response(404, text="<html>")):
        with Script(answer).client() as client, pytest.raises(TransportError, match="maas"):
            client.get("1")


def test_a_code_of_a_newer_server_is_still_an_error() -> None:
    with Script(refusal(418, "teapot")).client() as client, pytest.raises(MaasError) as caught:
        client.get("1")
    assert type(caught.value) is MaasError


def test_a_stream_cut_off_is_an_error() -> None:
    class Cut(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b'{"maas_export": 1}\n'
            raise httpx2.RemoteProtocolError("cut off")

    script = Script(httpx2.Response(200, stream=Cut()))
    with script.client() as client, pytest.raises(TransportError, match="cut off"):
        list(client.export_user("a"))


def test_jitter_stays_below_a_bound_that_doubles() -> None:
    script = Script(*(httpx2.ConnectError("refused") for _ in range(9)))
    with script.client(retries=8) as client, pytest.raises(TransportError):
        client.get("1")
    assert script.waits == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_the_async_client_retries_alike() -> None:
    script = Script(httpx2.ConnectError("refused"), refusal(503, "overloaded", **{"retry-after": "3"}), stored())

    async def wait(seconds: float) -> None:
        script.waits.append(seconds)

    async def store() -> None:
        transport = httpx2.MockTransport(script)
        async with AsyncMaasClient(
            "http://maas.test", transport=transport, sleep=wait, jitter=lambda low, high: high
        ) as client:
            await client.store("x", user_id="a")

    asyncio.run(store())
    assert script.waits == [0.25, 3.0]
    assert len(script.keys) == 1
